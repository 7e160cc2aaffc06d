//! Free pages going back to the system: those let alone for a whole decay interval, or all of them on demand.

use super::runs::Runs;
use super::supply::Pages;
use crate::config::{PAGE_SHIFT, PURGE_PAGES};
use crate::sync::Ordering;
use core::ptr::NonNull;

impl Pages {
    /// One decay tick: purges what was free and untouched since before the last tick, and ages the rest. Returns bytes purged.
    pub fn decay(&self) -> usize {
        let purged = self.purge(false);
        let state = self.state.lock();
        let count = self.count.load(Ordering::Relaxed);
        state.runs[..count].iter().for_each(Runs::age);
        purged
    }

    /// Purges free pages: `all`, or those that have had their interval. Returns bytes purged.
    pub fn purge(&self, all: bool) -> usize {
        let count = self.count.load(Ordering::Acquire);
        (0..count).map(|arena| self.purge_arena(arena, all)).sum()
    }

    /// Claims run after run, so that the system call happens without the lock.
    fn purge_arena(&self, arena: usize, all: bool) -> usize {
        let (place, mut from, mut purged) = (&self.arenas[arena], 0, 0);
        loop {
            let mut state = self.state.lock();
            let Some(fit) = state.runs[arena].next_purgeable(from, PURGE_PAGES as usize, all) else {
                return purged;
            };
            state.runs[arena].claim(&fit);
            drop(state);
            let bytes = (fit.end - fit.start) << PAGE_SHIFT;
            // SAFETY: the pages are claimed, so nobody's, and their contents dead. A page of an arena is not at null.
            if unsafe { self.source.purge(NonNull::new_unchecked(place.byte(fit.start)), bytes) } {
                place.dirt().cleanse(&fit);
                purged += bytes;
            }
            from = fit.end;
            self.state.lock().runs[arena].release(&fit);
        }
    }
}
