//! The system's memory, and how long it takes to give it back.

use kmem_base::source::{OsSource, PageSource, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Timed(pub(crate) AtomicU64);

impl Timed {
    fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.0.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        done
    }
}

// SAFETY: forwards to `OsSource`.
unsafe impl PageSource for Timed {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        OsSource.reserve(len, align)
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
        self.time(|| unsafe { OsSource.purge(at, len) })
    }

    unsafe fn purge_all(&self, ranges: &[Range]) -> bool {
        // SAFETY: as above.
        self.time(|| unsafe { OsSource.purge_all(ranges) })
    }

    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { OsSource.advise_huge(at, len) }
    }

    unsafe fn advise_small(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { OsSource.advise_small(at, len) }
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
