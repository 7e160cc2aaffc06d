//! A source whose memory lasts for one execution of a model.

use super::{OsSource, PageSource};
use core::cell::Cell;
use core::ptr::NonNull;

/// Mappings and reservations that one execution may make.
const MOST: usize = 32;

type Mapping = Option<(NonNull<u8>, usize)>;

/// [`OsSource`], which knows what it has handed out. One for each model, in a `static`.
#[derive(Debug)]
pub struct Scratch([Cell<Mapping>; MOST]);

// SAFETY: the threads of a model take turns on one thread of the system, and each model has its own.
unsafe impl Sync for Scratch {}

impl Scratch {
    /// Nothing handed out yet.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self([const { Cell::new(None) }; MOST])
    }

    /// Takes everything back that the last execution was given. At the beginning of each.
    pub fn begin(&self) {
        for (at, len) in self.0.iter().filter_map(Cell::take) {
            // SAFETY: whole, and that execution is over.
            unsafe { OsSource.unmap(at, len) };
        }
    }

    /// Mappings and reservations that this execution was given.
    #[must_use]
    pub fn given(&self) -> usize {
        self.0.iter().filter(|place| place.get().is_some()).count()
    }

    fn note(&self, at: NonNull<u8>, len: usize) -> Option<NonNull<u8>> {
        self.0.iter().find(|place| place.get().is_none())?.set(Some((at, len)));
        Some(at)
    }
}

// SAFETY: as `OsSource`, which is asked.
unsafe impl PageSource for Scratch {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        self.note(OsSource.reserve(len, align)?, len)
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's promise is `OsSource`'s.
        unsafe { OsSource.commit(at, len) }
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        self.note(OsSource.map(len, align)?, len)
    }

    unsafe fn advise_huge(&self, _at: NonNull<u8>, _len: usize) {}

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: as above.
        unsafe { OsSource.purge(at, len) }
    }

    unsafe fn remap(&self, _at: NonNull<u8>, _old: usize, _new: usize, _may_move: bool) -> Option<NonNull<u8>> {
        None
    }

    unsafe fn unmap(&self, _at: NonNull<u8>, _len: usize) {
        // With the rest.
    }
}
