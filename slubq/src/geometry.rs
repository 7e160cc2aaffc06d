//! How objects of one size lie in a slab. Theory 2.

use kmem_base::config::{INLINE_WORDS, PAGE_SIZE};

/// Objects whose free bits fit into the page descriptor.
const INLINE_OBJECTS: u32 = 64 * INLINE_WORDS as u32;
/// A slab has at least this many objects ...
const MIN_OBJECTS: usize = 8;
/// ... and wastes at most one part in this many.
const WASTE: usize = 8;
/// The largest slab, in pages.
pub(crate) const MAX_SLAB_PAGES: usize = 32;
/// Fixed-point shift of the reciprocal: exact for every offset in a slab, as `offset * size < 2^40`.
const SHIFT: u32 = 40;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes from one object to the next.
    pub size: u32,
    /// Pages of a slab.
    pub pages: u32,
    /// Objects of a slab.
    pub objects: u32,
    /// Offset of the first object: behind the free bits, if they are not in the descriptor.
    pub first: u32,
    /// Objects after which a cache line ends at an object's end: a refill stops only there.
    pub line: u32,
    pub(crate) recip: u64,
}

impl Geometry {
    /// The largest object, in bytes.
    pub const MAX_SIZE: usize = MAX_SLAB_PAGES * PAGE_SIZE / MIN_OBJECTS;

    /// The smallest slab with enough objects and little enough waste. `size` is a multiple of 8 of at most [`Self::MAX_SIZE`].
    #[must_use]
    pub const fn new(size: usize) -> Self {
        assert!(size > 0 && size.is_multiple_of(8) && size <= Self::MAX_SIZE);
        let mut pages = 1;
        loop {
            let bytes = pages * PAGE_SIZE;
            let fits = bytes / size >= MIN_OBJECTS && (bytes % size) * WASTE <= bytes;
            if fits || pages == MAX_SLAB_PAGES {
                return Self::of(size, pages);
            }
            pages += 1;
        }
    }

    const fn of(size: usize, pages: usize) -> Self {
        let bytes = pages * PAGE_SIZE;
        let mut objects = bytes / size;
        let mut first = 0;
        if objects > INLINE_OBJECTS as usize {
            // Objects keep their alignment, and share no cache line with the bits.
            let align = if size.trailing_zeros() < 6 { 64 } else { 1 << size.trailing_zeros() };
            // More objects need no less room for bits, so that this ends with as many as fit.
            loop {
                first = (objects.div_ceil(64) * 8).next_multiple_of(align);
                if first + objects * size <= bytes {
                    break;
                }
                objects -= 1;
            }
        }
        let line_shift = if size.trailing_zeros() < 6 { size.trailing_zeros() } else { 6 };
        Self {
            size: size as u32,
            pages: pages as u32,
            objects: objects as u32,
            first: first as u32,
            line: 64 >> line_shift,
            recip: (1_u64 << SHIFT).div_ceil(size as u64),
        }
    }

    /// True if several objects lie in one cache line.
    #[must_use]
    pub const fn shares_lines(&self) -> bool {
        self.size < 64
    }

    /// Words of free bits.
    #[must_use]
    pub const fn words(&self) -> u32 {
        self.objects.div_ceil(64)
    }

    /// Bytes of a slab.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.pages as usize * PAGE_SIZE
    }

    /// True if the free bits are at the slab's start, with their summary in the descriptor.
    #[must_use]
    pub const fn has_summary(&self) -> bool {
        self.first != 0
    }

    /// Bytes from the slab's first to object `index`.
    #[inline]
    #[must_use]
    pub const fn offset(&self, index: u32) -> usize {
        self.first as usize + index as usize * self.size as usize
    }

    /// Number of the object at `offset` bytes into the slab, if one starts there.
    #[inline]
    #[must_use]
    pub const fn index(&self, offset: usize) -> Option<u32> {
        let inside = offset.wrapping_sub(self.first as usize);
        let index = ((inside as u64).wrapping_mul(self.recip) >> SHIFT) as u32;
        if index < self.objects && index as usize * self.size as usize == inside { Some(index) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_bits_fit_and_little_is_wasted() {
        for size in (8..=Geometry::MAX_SIZE).step_by(8) {
            let geometry = Geometry::new(size);
            let objects = geometry.objects as usize * size;
            assert!(geometry.first as usize + objects <= geometry.bytes());
            assert!(geometry.objects as usize >= MIN_OBJECTS);
            assert!((geometry.bytes() - objects) * WASTE <= geometry.bytes() + 8 * WASTE, "{size}");
            let align = (1_usize << size.trailing_zeros()).min(PAGE_SIZE);
            assert!(geometry.offset(0).is_multiple_of(align.min(geometry.bytes())), "{size}");
            if geometry.has_summary() {
                assert!(geometry.words() as usize * 8 <= geometry.first as usize, "the bits end before the first object");
                assert!(geometry.first.is_multiple_of(64), "no object shares a cache line with bits");
            }
            assert!(!geometry.has_summary() || geometry.words() <= 128);
            let lines = (1..=64).find(|objects| (objects * size).is_multiple_of(64));
            assert_eq!(Some(geometry.line as usize), lines, "{size}");
        }
    }

    /// Bytes that `objects` of `size` and their bits take in a slab.
    fn need(objects: usize, size: usize) -> usize {
        let align = (1_usize << size.trailing_zeros()).max(64);
        let bits = if PAGE_SIZE / size > 64 * INLINE_WORDS { (objects.div_ceil(64) * 8).next_multiple_of(align) } else { 0 };
        objects * size + bits
    }

    #[test]
    fn a_slab_is_as_small_as_it_can_be_and_has_as_many_objects_as_fit() {
        for size in (8..=Geometry::MAX_SIZE).step_by(8) {
            let geometry = Geometry::new(size);
            assert!(need(geometry.objects as usize, size) <= geometry.bytes());
            assert!(need(geometry.objects as usize + 1, size) > geometry.bytes(), "one more would fit: {size}");
            assert!(geometry.has_summary() || geometry.objects as usize <= 64 * INLINE_WORDS);
            assert_eq!(geometry.words() as usize, (geometry.objects as usize).div_ceil(64));
            let good = |pages: usize| {
                let bytes = pages * PAGE_SIZE;
                bytes / size >= 8 && bytes % size <= bytes / 8
            };
            let pages = (1..=32).find(|pages| good(*pages)).unwrap_or(32);
            assert_eq!(geometry.pages as usize, pages, "{size}");
        }
    }

    #[test]
    fn every_object_and_only_objects_have_an_index() {
        for size in [8, 24, 104, 136, 1000, 1152, 20480, 32768, 40000, Geometry::MAX_SIZE] {
            let geometry = Geometry::new(size);
            for index in 0..geometry.objects {
                let offset = geometry.offset(index);
                assert_eq!(geometry.index(offset), Some(index));
                assert_eq!(geometry.index(offset + 1), None);
                assert_eq!(geometry.index(offset + size - 1), None);
            }
            assert_eq!(geometry.index(geometry.offset(geometry.objects)), None);
            let before = (0..geometry.first as usize).filter_map(|offset| geometry.index(offset));
            assert_eq!(before.count(), 0, "no object among the bits");
        }
    }
}
