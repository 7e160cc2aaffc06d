//! The descriptor of a place, and of the span on it (theory 3.2). Everything here is under the shard's lock.

use super::classes::{Class, Shape};
use super::config::SPAN_OBJECTS;

/// No place, no slot.
pub(super) const NIL: u32 = u32::MAX;

/// Which list a place is on, if any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct List(pub(super) u8);

impl List {
    /// Groups of partial spans: 0 to 9 tenths full.
    pub(super) const GROUPS: u8 = 10;
    /// Set aside by a compaction, which finds nothing more to move in it.
    pub(super) const ASIDE: Self = Self(10);
    /// Lists that a class has.
    pub(super) const COUNT: usize = 11;
    /// No room: on no list.
    pub(super) const FULL: Self = Self(11);
    /// In the hands of a thread that will list it: on no list.
    pub(super) const HELD: Self = Self(12);
    /// No span, no memory.
    pub(super) const CLEAN: Self = Self(13);
    /// No span, some memory.
    pub(super) const SPARE: Self = Self(14);
    /// No span; a thread is giving its memory back: on no list.
    pub(super) const LEAVING: Self = Self(15);

    /// Where a span with so many objects belongs.
    pub(super) fn of(used: u16, shape: Shape) -> Self {
        if used == shape.objects { Self::FULL } else { Self((u32::from(used) * 10 / u32::from(shape.objects)) as u8) }
    }

    /// True for a span that objects can be had of.
    pub(super) fn is_group(self) -> bool {
        self.0 < Self::GROUPS
    }

    /// True for a list of a class.
    pub(super) fn is_listed(self) -> bool {
        (self.0 as usize) < Self::COUNT
    }

    /// True if there is a span on the place.
    pub(super) fn has_span(self) -> bool {
        self.0 <= Self::HELD.0
    }
}

/// A place: 64 bytes.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Span {
    pub(super) prev: u32,
    pub(super) next: u32,
    /// Pages with memory behind them, as bits.
    pub(super) resident: u16,
    /// Objects.
    pub(super) used: u16,
    pub(super) class: Class,
    pub(super) list: List,
    _unused: u16,
    /// One bit for each object in use; and where these are few, the reverse index from the second word on.
    words: [u32; 12],
}

const _: () = assert!(size_of::<Span>() == 64 && 12 > super::config::INLINE && 12 * 32 >= SPAN_OBJECTS);

impl Span {
    /// A place without memory.
    pub(super) const fn new() -> Self {
        Self { prev: NIL, next: NIL, resident: 0, used: 0, class: Class(0), list: List::CLEAN, _unused: 0, words: [0; 12] }
    }

    /// Begins a span: in hand, empty.
    pub(super) fn begin(&mut self, class: Class) {
        *self = Self { class, list: List::HELD, resident: self.resident, ..Self::new() };
    }

    pub(super) fn shape(&self) -> Shape {
        self.class.shape()
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.words[index / 32] & 1 << (index % 32) != 0
    }

    /// Takes the free object `index`.
    pub(super) fn take(&mut self, index: usize) {
        debug_assert!(!self.has(index) && index < self.shape().objects as usize);
        self.words[index / 32] |= 1 << (index % 32);
        self.used += 1;
    }

    /// Frees the object `index`.
    pub(super) fn put(&mut self, index: usize) {
        debug_assert!(self.has(index));
        self.words[index / 32] &= !(1 << (index % 32));
        self.used -= 1;
    }

    /// The first object in use from `from` on.
    pub(super) fn next_used(&self, from: usize) -> Option<usize> {
        self.next_bit(from, 0)
    }

    /// The last object in use before `end`.
    pub(super) fn last_used(&self, end: usize) -> Option<usize> {
        let mut mask = (1_u32 << (end % 32)) - 1;
        for word in (0..=end / 32).rev() {
            let bits = self.words[word] & mask;
            if bits != 0 && word * 32 < self.shape().objects as usize {
                return Some(word * 32 + bits.ilog2() as usize);
            }
            mask = u32::MAX;
        }
        None
    }

    /// True if the objects could do with fewer pages, and `object` could move to before itself.
    pub(super) fn is_loose(&self, object: usize) -> bool {
        let pages = self.needed().count_ones() as usize;
        pages > self.shape().packed(self.used.into()) && self.vacancy().is_some_and(|index| index < object)
    }

    /// The first free object whose pages have memory, else the first free one.
    pub(super) fn vacancy(&self) -> Option<usize> {
        let first = self.next_bit(0, u32::MAX)?;
        let shape = self.shape();
        // Pages that were given back lie between others; those that a young span has not come to lie behind them, and are next anyway.
        let holes = self.resident & self.resident.wrapping_add(1) != 0;
        let has_memory = |index: &usize| shape.pages_of(*index) & !self.resident == 0;
        if !holes || has_memory(&first) {
            return Some(first);
        }
        let all = core::iter::successors(Some(first), |at| self.next_bit(at + 1, u32::MAX));
        all.into_iter().find(has_memory).or(Some(first))
    }

    /// The first index from `from` on whose bit, xor `flip`, is set.
    fn next_bit(&self, from: usize, flip: u32) -> Option<usize> {
        let objects = self.shape().objects as usize;
        let mut word = from / 32;
        let mut mask = u32::MAX << (from % 32);
        while word * 32 < objects {
            let bits = (self.words[word] ^ flip) & mask;
            if bits != 0 {
                return Some(word * 32 + bits.trailing_zeros() as usize).filter(|index| *index < objects);
            }
            (word, mask) = (word + 1, u32::MAX);
        }
        None
    }

    /// Pages that the objects and the reverse index lie in, as bits.
    pub(super) fn needed(&self) -> u16 {
        let shape = self.shape();
        if self.used == shape.objects {
            return shape.all_pages();
        }
        let used = core::iter::successors(self.next_used(0), |at| self.next_used(at + 1));
        used.fold(shape.head_pages(), |pages, index| pages | shape.pages_of(index))
    }

    /// Place in the descriptor of the slot's number of object `index`, where that is where it is.
    pub(super) fn inline(&mut self, index: usize) -> &mut u32 {
        debug_assert!(self.shape().is_inline());
        &mut self.words[1 + index]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn bits_are_found_in_order_in_every_class() {
        for class in Class::all() {
            let mut span = Span::new();
            span.begin(class);
            let objects = class.shape().objects as usize;
            for index in 0..objects {
                assert_eq!(span.vacancy(), Some(index));
                span.take(index);
            }
            assert_eq!((span.vacancy(), span.used as usize), (None, objects));
            assert_eq!(List::of(span.used, span.shape()), List::FULL);
            (0..objects).step_by(3).for_each(|index| span.put(index));
            let left: Vec<_> = core::iter::successors(span.next_used(0), |at| span.next_used(at + 1)).collect();
            assert_eq!(left, (0..objects).filter(|index| index % 3 != 0).collect::<Vec<_>>());
            let mut back: Vec<_> = core::iter::successors(span.last_used(SPAN_OBJECTS), |at| span.last_used(*at)).collect();
            back.reverse();
            assert_eq!(back, left);
            assert_eq!(span.vacancy(), Some(0));
        }
    }

    #[test]
    fn an_object_with_memory_is_preferred() {
        let class = Class::of(2048);
        let mut span = Span::new();
        span.begin(class);
        span.resident = 0b0001_1001;
        span.take(0);
        span.take(1);
        // Objects 2 to 5 lie in pages 1 and 2, which have no memory.
        assert_eq!(span.vacancy(), Some(6));
        (6..10).for_each(|index| span.take(index));
        assert_eq!(span.vacancy(), Some(2));
    }

    #[test]
    fn pages_without_an_object_are_not_needed() {
        let mut span = Span::new();
        span.begin(Class::of(2048));
        assert_eq!(span.needed(), 0, "the reverse index is in the descriptor");
        span.take(0);
        span.take(5);
        assert_eq!(span.needed(), 0b101);
        span.begin(Class::of(256));
        assert_eq!(span.needed(), 1, "the reverse index is at the beginning");
    }
}
