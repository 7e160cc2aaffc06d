//! What a shard's lock protects: spans by class and fullness, free places, vacant slots (theory 3.2).

use super::classes::{CLASSES, Class, Shape};
use super::error::AllocError;
use super::quota::Quota;
use super::region::Region;
use super::slots::{Slots, slot};
use super::span::{List, NIL, Span};
use super::supply::Supply;
use super::word::{Location, Slot};
use kmem_base::source::PageSource;

/// The spans of a class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    /// First span of each list.
    heads: [u32; List::COUNT],
    /// Spans.
    pub(super) spans: u32,
    /// Objects in them.
    pub(super) used: u32,
    /// Pages behind them.
    pub(super) resident: u32,
}

/// The state of a shard.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) region: Region,
    pub(super) classes: [Spans; CLASSES],
    pub(super) supply: Supply,
    pub(super) slots: Slots,
    /// Bytes that live objects were asked for with.
    pub(super) requested: usize,
}

impl Inner {
    pub(super) fn new(region: Region) -> Self {
        let none = Spans { heads: [NIL; List::COUNT], spans: 0, used: 0, resident: 0 };
        Self { region, classes: [none; CLASSES], supply: Supply::new(), slots: Slots::new(), requested: 0 }
    }

    /// The descriptor of a place that has begun.
    pub(super) fn span(&mut self, place: u32) -> &mut Span {
        debug_assert!(place < self.supply.begun);
        // SAFETY: begun, hence initialised; `self` is behind the shard's lock, and borrowed as long as the descriptor.
        unsafe { self.region.span(place).as_mut() }
    }

    pub(super) fn spans(&mut self, class: Class) -> &mut Spans {
        &mut self.classes[class.0 as usize]
    }

    /// The slot of an object.
    pub(super) fn slot(&self, index: u32) -> &Slot {
        slot(&self.region, index)
    }

    /// First span of a list.
    pub(super) fn head(&self, class: Class, list: List) -> Option<u32> {
        let head = self.classes[class.0 as usize].heads[list.0 as usize];
        (head != NIL).then_some(head)
    }

    /// Puts a span that is on no list where it belongs.
    pub(super) fn list(&mut self, place: u32) {
        let span = self.span(place);
        let list = List::of(span.used, span.shape());
        self.list_on(place, list);
    }

    /// Puts a span that is on no list on one.
    pub(super) fn list_on(&mut self, place: u32, list: List) {
        let span = self.span(place);
        span.list = list;
        if !list.is_listed() {
            return;
        }
        let class = span.class;
        let next = core::mem::replace(&mut self.spans(class).heads[list.0 as usize], place);
        let span = self.span(place);
        (span.prev, span.next) = (NIL, next);
        if next != NIL {
            self.span(next).prev = place;
        }
    }

    /// Takes a span off its list, if it is on one. It is in the caller's hand then.
    pub(super) fn unlist(&mut self, place: u32) {
        let span = self.span(place);
        let (class, list, prev, next) = (span.class, span.list, span.prev, span.next);
        span.list = List::HELD;
        if !list.is_listed() {
            return;
        }
        if prev == NIL {
            self.spans(class).heads[list.0 as usize] = next;
        } else {
            self.span(prev).next = next;
        }
        if next != NIL {
            self.span(next).prev = prev;
        }
    }

    /// Moves a span to the list of its fullness. One that is aside stays there until it is full, one in a hand in any case.
    pub(super) fn relist(&mut self, place: u32) {
        let span = self.span(place);
        let belongs = List::of(span.used, span.shape());
        let aside = span.list == List::ASIDE && belongs != List::FULL;
        if span.list != belongs && !aside && span.list != List::HELD {
            self.unlist(place);
            self.list_on(place, belongs);
        }
    }

    /// The first span of the fullest group with room; after all others, one that was put aside.
    fn fullest(&self, class: Class) -> Option<u32> {
        (0..List::GROUPS).rev().chain([List::ASIDE.0]).find_map(|list| self.head(class, List(list)))
    }

    /// Takes an object of the fullest span, or of a new one. The slot that it belongs to is `slot`.
    pub(super) fn take_object(
        &mut self,
        class: Class,
        slot: u32,
        quota: &Quota,
        source: &dyn PageSource,
    ) -> Result<Location, AllocError> {
        let place = match self.fullest(class) {
            Some(place) => place,
            None => self.begin_span(class, source).ok_or(AllocError::Memory)?,
        };
        let taken = self.take_of(place, slot, |pages| quota.take(pages));
        if self.span(place).used == 0 {
            self.end_span(place);
        } else {
            self.relist_new(place);
        }
        taken.ok_or(AllocError::Limit)
    }

    /// After an object was taken: of a span that has just begun, in hand, or of one that is listed.
    fn relist_new(&mut self, place: u32) {
        if self.span(place).list == List::HELD { self.list(place) } else { self.relist(place) }
    }

    /// Takes an object of this span, and memory for it if `allowed`. Lists nothing.
    pub(super) fn take_of(&mut self, place: u32, slot: u32, allowed: impl Fn(usize) -> bool) -> Option<Location> {
        let span = self.span(place);
        let (class, shape) = (span.class, span.shape());
        let index = span.vacancy()?;
        let missing = (shape.pages_of(index) | shape.head_pages()) & !span.resident;
        let pages = missing.count_ones();
        if pages > 0 && !allowed(pages as usize) {
            return None;
        }
        span.resident |= missing;
        span.take(index);
        let spans = self.spans(class);
        spans.used += 1;
        spans.resident += pages;
        self.set_reverse(place, shape, index, slot);
        Some(Location::new(place, shape.offset(index)))
    }

    /// Frees the object there, and its span with the last one.
    pub(super) fn put_object(&mut self, at: Location) {
        let place = at.place();
        self.put_of(at);
        let span = self.span(place);
        // In a hand, it is that thread's to list or end.
        match (span.list, span.used) {
            (List::HELD, _) => {}
            (_, 0) => {
                self.unlist(place);
                self.end_span(place);
            }
            _ => self.relist(place),
        }
    }

    /// Frees the object there. Lists nothing.
    pub(super) fn put_of(&mut self, at: Location) {
        let span = self.span(at.place());
        let class = span.class;
        span.put(class.shape().index(at.offset()));
        self.spans(class).used -= 1;
    }

    /// A span for objects of `class`, in hand.
    fn begin_span(&mut self, class: Class, source: &dyn PageSource) -> Option<u32> {
        let place = self.supply.take(&self.region, source)?;
        let span = self.span(place);
        span.begin(class);
        let pages = span.resident.count_ones();
        let spans = self.spans(class);
        spans.spans += 1;
        spans.resident += pages;
        Some(place)
    }

    /// Makes a free place of an empty span in hand. What memory it has stays for the next.
    pub(super) fn end_span(&mut self, place: u32) {
        let span = self.span(place);
        debug_assert!(span.used == 0 && span.list == List::HELD);
        let (class, pages) = (span.class, span.resident.count_ones());
        let spans = self.spans(class);
        spans.spans -= 1;
        spans.resident -= pages;
        self.supply.put(&self.region, place);
    }

    /// Number of the slot that an object belongs to.
    pub(super) fn reverse(&mut self, place: u32, shape: Shape, index: usize) -> u32 {
        if shape.is_inline() {
            return *self.span(place).inline(index);
        }
        // SAFETY: of a span that has this shape, writable, and under the lock; written when the object was taken.
        unsafe { self.region.reverse(place, shape, index).read() }
    }

    fn set_reverse(&mut self, place: u32, shape: Shape, index: usize, slot: u32) {
        if shape.is_inline() {
            *self.span(place).inline(index) = slot;
        } else {
            // SAFETY: as above; the pages of the reverse index are resident as long as the span.
            unsafe { self.region.reverse(place, shape, index).write(slot) }
        }
    }
}
