//! Pages without a live object, given back without moving anything (theory 3.7).

use super::compact::Budget;
use super::config::{PAGE, SWEEP};
use super::inner::Inner;
use super::quota::Quota;
use super::shard::Shard;
use super::span::List;
use kmem_base::source::PageSource;

impl Shard {
    /// Gives back dead pages of spans from `place` on, as far as `budget` reaches. Returns their bytes, and whether that was all. With
    /// the compaction's lock held: one thread at a time.
    pub(super) fn sweep(&self, place: &mut u32, budget: &mut Budget, quota: &Quota, source: &dyn PageSource) -> (usize, bool) {
        let mut bytes = 0;
        loop {
            let mut inner = self.lock();
            let end = inner.supply.begun.min(place.saturating_add(SWEEP));
            let found = (*place..end).find(|place| inner.dead(*place) != 0);
            *place = found.map_or(end, |found| found + 1);
            let is_last = *place >= inner.supply.begun;
            if let Some(found) = found {
                let dead = inner.dead(found);
                // In hand: objects may be freed, but none is had of it, and it does not end.
                inner.unlist(found);
                drop(inner);
                let gone = self.purge(found, dead, source);
                bytes += gone.count_ones() as usize * PAGE;
                quota.put(gone.count_ones() as usize);
                self.lock().forget(found, gone);
            }
            if is_last {
                return (bytes, true);
            }
            if !budget.spend(1) {
                return (bytes, false);
            }
        }
    }

    /// Gives pages of a span in hand back, run by run. Returns those that are gone.
    fn purge(&self, place: u32, pages: u16, source: &dyn PageSource) -> u16 {
        let (mut gone, mut left) = (0, u32::from(pages));
        while left != 0 {
            let first = left.trailing_zeros();
            let count = (left >> first).trailing_ones();
            let run = ((1 << count) - 1) << first;
            // SAFETY: pages of the place; no object and no reverse index lies in them, nor comes to.
            let zeroed = unsafe { source.purge(self.region.place(place).add(first as usize * PAGE), count as usize * PAGE) };
            gone |= if zeroed { run as u16 } else { 0 };
            left &= !run;
        }
        gone
    }
}

impl Inner {
    /// Pages of a span that have memory and need none.
    fn dead(&mut self, place: u32) -> u16 {
        let span = self.span(place);
        let may = span.list.is_group() || span.list == List::FULL;
        if may { span.resident & !span.needed() } else { 0 }
    }

    /// Pages of a span in hand are gone. It is listed again, or ends if its last object was freed meanwhile.
    fn forget(&mut self, place: u32, gone: u16) {
        let span = self.span(place);
        span.resident &= !gone;
        let (class, used) = (span.class, span.used);
        self.spans(class).resident -= gone.count_ones();
        if used == 0 { self.end_span(place) } else { self.list(place) }
    }
}
