//! A heap that grows by a callback: `memory.grow` of WebAssembly, `sbrk`, a linker's symbols.

use crate::ground::Ground;
use core::ptr::NonNull;

/// Asks for at least that many bytes more; answers with where they are, and how many. See [`Grow::new`].
pub type More = fn(usize) -> Option<(NonNull<u8>, usize)>;

/// A callback.
#[derive(Debug)]
pub struct Grow(More);

impl Grow {
    /// Memory from `more`.
    ///
    /// # Safety
    /// What it answers with is readable, writable, nobody else's, for good, and at a higher address than all that it answered with
    /// before. Gaps are allowed. They cost table, a thousandth of their size, a hundredth with marks.
    #[must_use]
    pub const unsafe fn new(more: More) -> Self {
        Self(more)
    }
}

// SAFETY: the promise of `new`.
unsafe impl Ground for Grow {
    fn grow(&mut self, bytes: usize) -> Option<(NonNull<u8>, usize)> {
        (self.0)(bytes)
    }
}
