//! Work that one thread at a time does, and for which nobody waits: reaping, decay.

use crate::sync::{AtomicU32, Ordering};

/// A pass, until dropped: a destructor may unwind out of it. Not a lock, as it may run a program's code.
#[derive(Debug)]
#[must_use]
pub struct Pass<'a>(&'a AtomicU32);

impl<'a> Pass<'a> {
    /// The pass that begins, unless another is under way: `running` is 1 then, and 0 otherwise.
    pub fn begin(running: &'a AtomicU32) -> Option<Self> {
        // Acquire pairs with the Release of the last pass's end.
        running.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok().then_some(Self(running))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
