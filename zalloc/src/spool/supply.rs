//! Places: which have a span, which are free, and which of these have memory (theory 3.2). Under the shard's lock.

use super::config::{GROW_MAX, GROW_MIN, PLACE};
use super::region::Region;
use super::span::{List, NIL, Span};
use kmem_base::source::{PageSource, os_page};

/// The free places of a shard.
#[derive(Debug)]
pub(super) struct Supply {
    /// Places that have been used; those behind have no descriptor yet.
    pub(super) begun: u32,
    /// Places that are writable, and bytes of descriptors that are.
    usable: u32,
    described: usize,
    /// Free places without memory, and with some; chained by `next`.
    clean: u32,
    spare: u32,
    /// Pages behind spare places.
    pub(super) spare_pages: u32,
}

impl Supply {
    pub(super) const fn new() -> Self {
        Self { begun: 0, usable: 0, described: 0, clean: NIL, spare: NIL, spare_pages: 0 }
    }

    /// Bytes of descriptors that have been touched.
    pub(super) fn descriptors(&self) -> usize {
        self.begun as usize * size_of::<Span>()
    }

    /// A free place, one with memory if there is one. It is on no list then.
    pub(super) fn take(&mut self, region: &Region, source: &dyn PageSource) -> Option<u32> {
        self.take_spare(region).or_else(|| self.take_clean(region)).or_else(|| self.take_new(region, source))
    }

    fn take_clean(&mut self, region: &Region) -> Option<u32> {
        pop(&mut self.clean, region)
    }

    /// A free place with memory.
    pub(super) fn take_spare(&mut self, region: &Region) -> Option<u32> {
        let place = pop(&mut self.spare, region)?;
        // SAFETY: begun, and under the lock.
        self.spare_pages -= unsafe { region.span(place).as_ref() }.resident.count_ones();
        Some(place)
    }

    fn take_new(&mut self, region: &Region, source: &dyn PageSource) -> Option<u32> {
        if self.begun == self.usable && !self.grow(region, source) {
            return None;
        }
        let place = self.begun;
        self.begun += 1;
        // SAFETY: writable, and nobody else's: under the lock.
        unsafe { region.span(place).write(Span::new()) };
        Some(place)
    }

    /// Takes a free place back.
    pub(super) fn put(&mut self, region: &Region, place: u32) {
        // SAFETY: begun, and under the lock.
        let span = unsafe { region.span(place).as_mut() };
        let head = if span.resident == 0 { &mut self.clean } else { &mut self.spare };
        span.list = if span.resident == 0 { List::CLEAN } else { List::SPARE };
        span.next = core::mem::replace(head, place);
        self.spare_pages += span.resident.count_ones();
    }

    /// Makes more places writable: as many as there are, within limits.
    fn grow(&mut self, region: &Region, source: &dyn PageSource) -> bool {
        let step = self.usable.clamp(GROW_MIN, GROW_MAX).min(region.places() - self.usable);
        if step == 0 {
            return false;
        }
        let usable = self.usable + step;
        let described = (usable as usize * size_of::<Span>()).next_multiple_of(os_page());
        // SAFETY: within the region's parts, behind what is writable already; a refusal changes nothing, and half of it can be repeated.
        unsafe {
            if described > self.described {
                if !source.commit(region.span(0).cast().add(self.described), described - self.described) {
                    return false;
                }
                self.described = described;
            }
            let (at, len) = (region.place(self.usable), step as usize * PLACE);
            if !source.commit(at, len) {
                return false;
            }
            // A page touched must not bring 511 others along.
            source.advise_small(at, len);
        }
        self.usable = usable;
        true
    }

    /// Calls `each` with every free place without memory, and every one with some.
    pub(super) fn for_each_free(&self, region: &Region, mut each: impl FnMut(u32, List)) {
        for (head, list) in [(self.clean, List::CLEAN), (self.spare, List::SPARE)] {
            let mut at = head;
            while at != NIL {
                each(at, list);
                // SAFETY: begun, and under the lock.
                at = unsafe { region.span(at).as_ref() }.next;
            }
        }
    }
}

fn pop(head: &mut u32, region: &Region) -> Option<u32> {
    let place = *head;
    if place == NIL {
        return None;
    }
    // SAFETY: begun, and under the lock.
    let span = unsafe { region.span(place).as_mut() };
    span.list = List::LEAVING;
    *head = span.next;
    Some(place)
}
