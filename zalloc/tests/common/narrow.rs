//! A system with little address space for each request.

use kmem_base::source::{OsSource, PageSource};
use std::ptr::NonNull;

#[derive(Debug)]
pub(crate) struct Narrow;

// SAFETY: forwards to `OsSource`, or changes nothing.
unsafe impl PageSource for Narrow {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        if len > 6 << 20 { None } else { OsSource.reserve(len, align) }
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's promise is `OsSource`'s, here and below.
        unsafe { OsSource.commit(at, len) }
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        OsSource.map(len, align)
    }

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: as above.
        unsafe { OsSource.purge(at, len) }
    }

    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { OsSource.advise_huge(at, len) }
    }

    unsafe fn remap(&self, at: NonNull<u8>, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
        // SAFETY: as above.
        unsafe { OsSource.remap(at, old, new, may_move) }
    }

    unsafe fn unmap(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { OsSource.unmap(at, len) }
    }
}
