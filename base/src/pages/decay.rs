//! Pages going back to the system: free ones that were let alone for a whole decay interval, or all of them on demand, and parts of
//! runs in use.

use super::page::Page;
use super::runs::Runs;
use super::supply::Pages;
use crate::config::{PAGE_SHIFT, PURGE_PAGES};
use crate::sync::Ordering;
use core::ops::Range;
use core::ptr::NonNull;

impl Pages {
    /// One decay tick: purges what was free and untouched since before the last tick, and ages the rest. Returns bytes purged.
    pub fn decay(&self) -> usize {
        let purged = self.purge(false);
        self.age();
        purged
    }

    /// What is free now has had one interval.
    pub fn age(&self) {
        self.give_up_kept(false);
        self.kept.calm_down();
        let state = self.state.lock();
        let count = self.count.load(Ordering::Relaxed);
        state.runs[..count].iter().for_each(Runs::age);
    }

    /// Purges free pages: `all`, or those that have had their interval. Returns bytes purged.
    pub fn purge(&self, all: bool) -> usize {
        self.purge_while(all, &mut || true).0
    }

    /// The same as long as `more` says so, asked between system calls. Returns bytes purged, and whether it came to the end.
    pub fn purge_while(&self, all: bool, more: &mut dyn FnMut() -> bool) -> (usize, bool) {
        if all {
            self.give_up_kept(true);
        }
        let mut purged = 0;
        for arena in 0..self.count.load(Ordering::Acquire) {
            if !self.purge_arena(arena, all, &mut purged, more) {
                return (purged, false);
            }
        }
        (purged, true)
    }

    /// Claims run after run, so that the system call happens without the lock. True if it came to the end.
    fn purge_arena(&self, arena: usize, all: bool, purged: &mut usize, more: &mut dyn FnMut() -> bool) -> bool {
        let (place, mut from) = (&self.arenas[arena], 0);
        loop {
            let mut state = self.state.lock();
            let Some(fit) = state.runs[arena].next_purgeable(from, PURGE_PAGES as usize, all) else {
                return true;
            };
            state.runs[arena].claim(&fit);
            drop(state);
            let bytes = (fit.end - fit.start) << PAGE_SHIFT;
            // SAFETY: the pages are claimed, so nobody's, and their contents dead. A page of an arena is not at null.
            if unsafe { self.source().purge(NonNull::new_unchecked(place.byte(fit.start)), bytes) } {
                place.dirt().cleanse(&fit);
                *purged += bytes;
            }
            from = fit.end;
            self.state.lock().runs[arena].release(&fit);
            if !more() {
                return false;
            }
        }
    }

    /// Gives `bytes` of the run that starts at `page` back to the system; they read as zero, or as before, from now on. True if the
    /// system took them. The run stays in use, and its pages count as dirty.
    ///
    /// # Safety
    /// The bytes are whole OS pages of the run, dead, and nobody's but the caller's until this returns.
    pub unsafe fn punch(&self, page: &Page, bytes: &Range<usize>) -> bool {
        let Some((arena, start)) = self.locate(page) else {
            return false;
        };
        let at = self.arenas[arena].byte(start).wrapping_add(bytes.start);
        // SAFETY: the caller's; a page of an arena is not at null.
        unsafe { self.source().purge(NonNull::new_unchecked(at), bytes.end - bytes.start) }
    }
}
