//! Which pages may hold something other than zero, and for how long they have been let alone.
//!
//! `young` since the last decay tick, `old` before; a page with neither bit reads as zero.

use super::marks::Marks;
use super::runs::Fit;
use crate::bitmap::each_word;
use crate::sync::{AtomicU64, Ordering};

/// The two bitmaps of one arena. Words are atomic and bits of different pages independent, so no lock is needed for the bits of
/// pages that the caller owns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dirt(*const Marks);

// SAFETY: the words are shared memory that lives as long as the process.
unsafe impl Send for Dirt {}

impl Dirt {
    pub(super) const EMPTY: Self = Self(core::ptr::null());

    /// # Safety
    /// The table covers every page that is ever asked about, zeroed, for as long as the process runs.
    pub(super) const unsafe fn new(marks: *const Marks) -> Self {
        Self(marks)
    }

    fn words(&self, index: usize) -> (&'static AtomicU64, &'static AtomicU64) {
        // SAFETY: by the contract of `new`.
        let marks = unsafe { &*self.0.add(index) };
        (&marks.young, &marks.old)
    }

    /// Marks `pages` zero.
    pub(super) fn cleanse(&self, pages: &Fit) {
        each_word(pages.start, pages.end, |index, mask| {
            let (young, old) = self.words(index);
            young.fetch_and(!mask, Ordering::Relaxed);
            old.fetch_and(!mask, Ordering::Relaxed);
        });
    }

    /// Dirty pages of word `index`: all of them, or those that have been let alone since before the last tick.
    pub(super) fn word(&self, index: usize, all: bool) -> u64 {
        let (young, old) = self.words(index);
        old.load(Ordering::Relaxed) | if all { young.load(Ordering::Relaxed) } else { 0 }
    }

    /// A decay tick for the pages `free` of word `index`.
    pub(super) fn age(&self, index: usize, free: u64) {
        let (young, old) = self.words(index);
        if young.load(Ordering::Relaxed) & free != 0 {
            let aged = young.fetch_and(!free, Ordering::Relaxed) & free;
            old.fetch_or(aged, Ordering::Relaxed);
        }
    }

    /// Marks `pages` dirty and not old: they are in use again. Tells `was` of those that were dirty before, word by word.
    pub(super) fn refresh(&self, pages: &Fit, mut was: impl FnMut(usize, u64)) {
        each_word(pages.start, pages.end, |index, mask| {
            let (young, old) = self.words(index);
            let young = young.fetch_or(mask, Ordering::Relaxed) & mask;
            let aged = old.load(Ordering::Relaxed) & mask;
            if aged != 0 {
                old.fetch_and(!mask, Ordering::Relaxed);
            }
            if young | aged != 0 {
                was(index, young | aged);
            }
        });
    }
}
