//! A heap for one thread that has to be told of its memory first.
#![allow(dead_code)]

use crate::{Memory, SIZE};
use core::cell::UnsafeCell;

static mut MEMORY: Memory = Memory([0; SIZE]);

/// Where the memory is.
pub fn memory() -> *mut u8 {
    (&raw mut MEMORY).cast()
}

/// A heap, and whether it has its memory.
pub struct Lazy<H>(pub UnsafeCell<(H, bool)>);
// SAFETY: one thread.
unsafe impl<H> Sync for Lazy<H> {}

impl<H> Lazy<H> {
    pub const fn new(heap: H) -> Self {
        Self(UnsafeCell::new((heap, false)))
    }

    /// The heap, which `begin` gives its memory to.
    #[allow(clippy::mut_from_ref)]
    pub fn get(&self, begin: impl FnOnce(&mut H)) -> &mut H {
        // SAFETY: one thread, and no use of it outlives another.
        let (heap, begun) = unsafe { &mut *self.0.get() };
        if !*begun {
            *begun = true;
            begin(heap);
        }
        heap
    }
}

/// Bytes of it.
pub const LEN: usize = SIZE;
