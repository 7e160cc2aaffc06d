//! Size classes: how long a span is, and how many objects it holds (theory 3.1).

use super::config::{INLINE, MAX_SIZE, PAGE, SPAN_OBJECTS, SPAN_PAGES, STEP};

/// A span of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    /// Bytes from one object to the next: the largest object.
    pub(super) size: u16,
    /// Pages of a span.
    pub(super) pages: u8,
    /// Objects of a span.
    pub(super) objects: u16,
}

/// Bytes of a span's descriptor, which count against long chains as well as short ones.
const DESCRIPTOR: usize = 64;
/// Sizes, by step.
const SIZES: usize = MAX_SIZE / STEP;

impl Shape {
    /// A span of `pages` pages for objects of `size` bytes.
    const fn of(size: usize, pages: usize) -> Self {
        let bare = pages * PAGE / size;
        let mut objects = if bare < SPAN_OBJECTS { bare } else { SPAN_OBJECTS };
        while objects > INLINE && reverse_index(objects) + objects * size > pages * PAGE {
            objects -= 1;
        }
        Self { size: size as u16, pages: pages as u8, objects: objects as u16 }
    }

    /// The span that costs least per byte of its objects. Of equal ones the shorter.
    const fn best(size: usize) -> Self {
        let mut best = Self::of(size, SPAN_PAGES);
        let mut pages = SPAN_PAGES - 1;
        while pages > 0 {
            let other = Self::of(size, pages);
            // Cost per byte, multiplied crosswise.
            if other.objects > 0 && other.cost() * best.objects as usize <= best.cost() * other.objects as usize {
                best = other;
            }
            pages -= 1;
        }
        best
    }

    const fn cost(self) -> usize {
        self.pages as usize * PAGE + DESCRIPTOR
    }

    /// True if the reverse index is in the descriptor, not at the span's beginning.
    pub(super) const fn is_inline(self) -> bool {
        self.objects as usize <= INLINE
    }

    /// Bytes before the first object: the reverse index, unless it is in the descriptor. It is at the beginning since a span is filled
    /// from there: a young one takes no page for it alone.
    pub(super) const fn head(self) -> usize {
        reverse_index(self.objects as usize)
    }

    /// Bytes before an object.
    #[inline]
    pub(super) const fn offset(self, index: usize) -> usize {
        self.head() + index * self.size as usize
    }

    /// The object at an offset.
    pub(super) const fn index(self, offset: usize) -> usize {
        (offset - self.head()) / self.size as usize
    }

    /// Pages of the object `index`, as bits.
    pub(super) const fn pages_of(self, index: usize) -> u16 {
        pages_between(self.offset(index), self.offset(index + 1))
    }

    /// Pages of the reverse index, as bits.
    pub(super) const fn head_pages(self) -> u16 {
        pages_between(0, self.head())
    }

    /// Every page of the span, as bits.
    pub(super) const fn all_pages(self) -> u16 {
        pages_between(0, self.pages as usize * PAGE)
    }

    /// Pages that so many objects take, packed.
    pub(super) const fn packed(self, objects: usize) -> usize {
        let (full, rest) = (objects / self.objects as usize, objects % self.objects as usize);
        let last = if rest == 0 { 0 } else { pages_between(0, self.offset(rest)).count_ones() };
        full * self.pages as usize + last as usize
    }

    /// True if each object has pages of its own: they can be given back without moving anything.
    pub(super) const fn is_paged(self) -> bool {
        (self.size as usize).is_multiple_of(PAGE)
    }
}

/// Bytes of a reverse index that is not in the descriptor: objects behind it are aligned.
const fn reverse_index(objects: usize) -> usize {
    if objects <= INLINE { 0 } else { (objects * size_of::<u32>()).next_multiple_of(STEP) }
}

/// The pages that hold bytes `from .. to` of a place, as bits.
const fn pages_between(from: usize, to: usize) -> u16 {
    if from == to {
        return 0;
    }
    let (first, last) = (from / PAGE, (to - 1) / PAGE);
    ((1_u32 << (last + 1)) - (1_u32 << first)) as u16
}

/// True if the sizes of steps `at` and `at + 1` make one class: spans of equal length with equally many objects.
const fn merges(at: usize) -> bool {
    if at + 1 >= SIZES {
        return false;
    }
    let (small, large) = (Shape::best((at + 1) * STEP), Shape::best((at + 2) * STEP));
    small.pages == large.pages && small.objects == large.objects
}

const fn count() -> usize {
    let (mut count, mut at) = (0, 0);
    while at < SIZES {
        count += !merges(at) as usize;
        at += 1;
    }
    count
}

/// Number of classes.
pub(super) const CLASSES: usize = count();

/// Spans of every class, by ascending size.
pub(super) static SHAPES: [Shape; CLASSES] = shapes();
/// Class of each size, by step.
static CLASS_OF: [u8; SIZES] = class_of();

const fn shapes() -> [Shape; CLASSES] {
    let mut shapes = [Shape { size: 0, pages: 0, objects: 0 }; CLASSES];
    let (mut class, mut at) = (0, 0);
    while at < SIZES {
        if !merges(at) {
            shapes[class] = Shape::best((at + 1) * STEP);
            class += 1;
        }
        at += 1;
    }
    shapes
}

const fn class_of() -> [u8; SIZES] {
    let mut classes = [0; SIZES];
    let (mut class, mut at) = (0, 0);
    while at < SIZES {
        classes[at] = class;
        class += !merges(at) as u8;
        at += 1;
    }
    classes
}

/// The number of a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Class(pub(super) u8);

impl Class {
    /// The class for objects of `size` bytes, 1 to [`MAX_SIZE`].
    #[inline]
    pub(super) fn of(size: usize) -> Self {
        Self(CLASS_OF[(size - 1) / STEP])
    }

    /// Its spans.
    #[inline]
    pub(super) fn shape(self) -> Shape {
        SHAPES[self.0 as usize]
    }

    /// Every class.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES as u8).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_gets_the_smallest_class_that_holds_it() {
        for size in 1..=MAX_SIZE {
            let class = Class::of(size);
            assert!(class.shape().size as usize >= size);
            assert!(class.0 == 0 || (SHAPES[class.0 as usize - 1].size as usize) < size);
        }
        assert_eq!(Class::of(MAX_SIZE).0 as usize, CLASSES - 1);
    }

    #[test]
    fn objects_and_reverse_index_fit_and_no_span_would_be_better() {
        for size in (STEP..=MAX_SIZE).step_by(STEP) {
            let best = Shape::best(size);
            let bytes = best.offset(best.objects as usize);
            assert!(bytes <= best.pages as usize * PAGE && best.objects as usize <= SPAN_OBJECTS && best.objects > 0);
            let cost = |shape: Shape| shape.cost() as f64 / (shape.objects as f64 * size as f64);
            for pages in 1..=SPAN_PAGES {
                let other = Shape::of(size, pages);
                assert!(other.objects == 0 || cost(best) <= cost(other) + 1e-12, "{size}: {best:?} {other:?}");
            }
        }
    }

    #[test]
    fn sizes_of_a_class_have_spans_of_one_shape() {
        for size in (STEP..=MAX_SIZE).step_by(STEP) {
            let (own, class) = (Shape::best(size), Class::of(size).shape());
            assert_eq!((own.pages, own.objects), (class.pages, class.objects), "{size}");
        }
    }

    #[test]
    fn pages_are_counted_as_bytes_say() {
        assert_eq!(pages_between(0, 1), 1);
        assert_eq!(pages_between(4095, 4097), 0b11);
        assert_eq!(pages_between(4096, 8192), 0b10);
        assert_eq!(pages_between(0, 65536), 0xFFFF);
        for class in Class::all() {
            let shape = class.shape();
            let objects = (0..shape.objects as usize).fold(shape.head_pages(), |pages, index| pages | shape.pages_of(index));
            assert_eq!(objects & !shape.all_pages(), 0);
            assert_eq!(shape.packed(shape.objects as usize), shape.pages as usize);
            assert_eq!(shape.packed(shape.objects as usize * 3 + 1), 3 * shape.pages as usize + shape.packed(1));
        }
    }
}
