//! A heap in a buffer.

use crate::ground::Ground;
use core::ptr::NonNull;

/// A buffer, until the heap takes it.
#[derive(Debug)]
pub struct Fixed {
    at: *mut u8,
    len: usize,
}

// SAFETY: a buffer that is its owner's alone.
unsafe impl Send for Fixed {}

impl Fixed {
    /// All of `buffer`.
    #[must_use]
    pub const fn new(buffer: &'static mut [u8]) -> Self {
        Self { at: buffer.as_mut_ptr(), len: buffer.len() }
    }

    /// The same for a buffer known by its address.
    ///
    /// # Safety
    /// `at .. at + len` is readable, writable and nobody else's for as long as the heap is used.
    #[must_use]
    pub const unsafe fn from_raw(at: *mut u8, len: usize) -> Self {
        Self { at, len }
    }
}

// SAFETY: handed out once, and the caller's promise.
unsafe impl Ground for Fixed {
    const GROWS: bool = false;

    fn grow(&mut self, _bytes: usize) -> Option<(NonNull<u8>, usize)> {
        let len = core::mem::take(&mut self.len);
        NonNull::new(self.at).filter(|_| len > 0).map(|at| (at, len))
    }
}
