//! Memory given back to the system: of free places, and of pages without a live object, which needs nothing moved (theory 3.7).
//!
//! What is given back is in the hand of one thread meanwhile, under no lock: a place is on no list, a span is held.

use super::compact::Budget;
use super::config::{BATCH, PAGE, PLACE, SPAN_COST, SWEEP};
use super::inner::Inner;
use super::quota::Quota;
use super::region::Region;
use super::shard::Shard;
use super::span::{List, NIL};
use core::ptr::NonNull;
use kmem_base::source::{PageSource, Range};

/// Most runs of pages in a span: every other page.
const RUNS: usize = PLACE / PAGE / 2;

/// Pages of places in hand.
struct Batch {
    places: [(u32, u16); BATCH],
    count: usize,
}

impl Batch {
    fn new() -> Self {
        Self { places: [(NIL, 0); BATCH], count: 0 }
    }

    fn add(&mut self, place: u32, pages: u16) {
        self.places[self.count] = (place, pages);
        self.count += 1;
    }

    fn is_full(&self) -> bool {
        self.count == BATCH
    }

    fn places(&self) -> &[(u32, u16)] {
        &self.places[..self.count]
    }

    /// Gives the pages back. True if all are gone; else, as far as anybody knows, none.
    ///
    /// # Safety
    /// Nothing lies in them, nor comes to before this returns.
    unsafe fn purge(&self, region: &Region, source: &dyn PageSource) -> bool {
        let mut ranges = [Range { at: NonNull::dangling(), len: 0 }; BATCH * RUNS];
        let mut count = 0;
        for (place, pages) in self.places() {
            let mut left = u32::from(*pages);
            while left != 0 {
                let (first, pages) = (left.trailing_zeros(), (left >> left.trailing_zeros()).trailing_ones());
                // SAFETY: of the place.
                let at = unsafe { region.place(*place).add(first as usize * PAGE) };
                ranges[count] = Range { at, len: pages as usize * PAGE };
                count += 1;
                left &= !(((1 << pages) - 1) << first);
            }
        }
        // SAFETY: the caller's.
        count == 0 || unsafe { source.purge_all(&ranges[..count]) }
    }
}

impl Shard {
    /// Gives memory of free places back until at most `keep` pages of it are left, and that of slots that nobody will use again.
    /// Returns bytes.
    pub(super) fn give_back(&self, keep: u32, quota: &Quota, source: &dyn PageSource) -> usize {
        let mut bytes = self.give_back_slots(source);
        loop {
            let batch = self.lock().spare(keep);
            // SAFETY: places without a span, on no list.
            let gone = batch.count > 0 && unsafe { batch.purge(&self.region, source) };
            let pages = self.lock().put_places(&batch, gone);
            quota.put(pages);
            bytes += pages * PAGE;
            if !gone {
                return bytes;
            }
        }
    }

    fn give_back_slots(&self, source: &dyn PageSource) -> usize {
        let mut bytes = 0;
        loop {
            let Some(page) = self.lock().slots.take_dead(&self.region) else { return bytes };
            // SAFETY: a page of slots; its words are all dead, and none is written again.
            let gone = unsafe { source.purge(self.region.slot(page).cast(), PAGE) };
            bytes += if gone { PAGE } else { 0 };
        }
    }

    /// Gives back dead pages of spans from `place` on, as far as `budget` reaches. Returns their bytes, and whether that was all. With
    /// the compaction's lock held: one thread at a time.
    pub(super) fn sweep(&self, place: &mut u32, budget: &mut Budget, quota: &Quota, source: &dyn PageSource) -> (usize, bool) {
        let mut bytes = 0;
        loop {
            let (batch, end) = self.lock().hold(place, budget.spans());
            // SAFETY: in hand: objects of these spans may be freed, but none is had of them, and they do not end.
            let gone = unsafe { batch.purge(&self.region, source) };
            let pages = self.lock().forget(&batch, gone);
            quota.put(pages);
            bytes += pages * PAGE;
            if end {
                return (bytes, true);
            }
            if !budget.spend(1 + SPAN_COST * batch.count) {
                return (bytes, false);
            }
        }
    }
}

impl Inner {
    /// Free places, as many as have more than `keep` pages.
    fn spare(&mut self, keep: u32) -> Batch {
        let mut batch = Batch::new();
        while self.supply.spare_pages > keep && !batch.is_full() {
            let region = self.region;
            let Some(place) = self.supply.take_spare(&region) else { break };
            // The whole of it, in one piece.
            batch.add(place, u16::MAX);
        }
        batch
    }

    /// Takes places back. Returns the pages that are `gone`.
    fn put_places(&mut self, batch: &Batch, gone: bool) -> usize {
        let region = self.region;
        let mut pages = 0;
        for (place, _) in batch.places() {
            if gone {
                let span = self.span(*place);
                pages += span.resident.count_ones();
                span.resident = 0;
            }
            self.supply.put(&region, *place);
        }
        pages as usize
    }

    /// Takes up to `most` spans with dead pages in hand, of the next few places. True if there are no others.
    fn hold(&mut self, place: &mut u32, most: usize) -> (Batch, bool) {
        let mut batch = Batch::new();
        let end = self.supply.begun.min(place.saturating_add(SWEEP));
        while *place < end && batch.count < most {
            let dead = self.dead(*place);
            if dead != 0 {
                self.unlist(*place);
                batch.add(*place, dead);
            }
            *place += 1;
        }
        (batch, *place >= self.supply.begun)
    }

    /// Pages of a span that have memory and need none.
    fn dead(&mut self, place: u32) -> u16 {
        let span = self.span(place);
        let may = span.list.is_group() || span.list == List::FULL;
        if may { span.resident & !span.needed() } else { 0 }
    }

    /// Lists spans in hand again, or ends them if their last object was freed meanwhile. Returns the pages that are `gone`.
    fn forget(&mut self, batch: &Batch, gone: bool) -> usize {
        let mut pages = 0;
        for (place, dead) in batch.places() {
            let span = self.span(*place);
            if gone {
                span.resident &= !dead;
                pages += dead.count_ones();
            }
            let (class, used) = (span.class, span.used);
            self.spans(class).resident -= if gone { dead.count_ones() } else { 0 };
            if used == 0 { self.end_span(*place) } else { self.list(*place) }
        }
        pages as usize
    }
}
