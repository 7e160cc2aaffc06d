//! Size classes: steps of 8 bytes to 128, then 8 classes per doubling (waste at most 12.5 %), to 32 KiB.
//!
//! The alignment counts: a size is first rounded up to a multiple of its alignment, and every class that such a size maps to is
//! itself a multiple of that alignment, because a doubling's step is either a multiple of it, or divides the rounded size. So a
//! `Vec` header of 24 bytes aligned to 8 takes a 24-byte object, where C's `malloc(24)` needs 32, and no request needs a branch on
//! its alignment.

use crate::config::MAX_SMALL;
use core::alloc::Layout;

/// Number of size classes.
pub const CLASSES: usize = 16 + 8 * 8;

/// A size class: twice its index, since that is what addresses its queue's pair of words, and an instruction on every path counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class(u8);

/// Class of `(size + 7) / 8`: 4 KiB, of which a program touches the few lines of the sizes it uses.
static TABLE: [u8; MAX_SMALL / 8 + 1] = table();

const fn table() -> [u8; MAX_SMALL / 8 + 1] {
    let mut table = [0; MAX_SMALL / 8 + 1];
    let (mut class, mut i) = (0, 0);
    while i < table.len() {
        if i * 8 > size_of_class(class) {
            class += 1;
        }
        table[i] = 2 * class as u8;
        i += 1;
    }
    table
}

const fn size_of_class(class: usize) -> usize {
    if class < 16 {
        return (class + 1) * 8;
    }
    let (doubling, step) = ((class - 16) / 8, (class - 16) % 8);
    (128 << doubling) + (step + 1) * (16 << doubling)
}

impl Class {
    /// The class that serves `size` bytes (already rounded by [`round_to_align`]); `size` must not exceed [`MAX_SMALL`].
    #[inline(always)]
    #[must_use]
    pub const fn of(size: usize) -> Self {
        // Every caller has just compared `size` with `MAX_SMALL`, which is what removes the bounds check.
        Self(TABLE[(size + 7) >> 3])
    }

    /// The class number `index`; `index < CLASSES`.
    #[must_use]
    pub const fn from_index(index: usize) -> Self {
        assert!(index < CLASSES);
        Self(2 * index as u8)
    }

    /// Bytes of an object of this class.
    #[must_use]
    pub const fn size(self) -> usize {
        size_of_class(self.index())
    }

    /// This class as an index, `0..CLASSES`.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize / 2
    }

    /// What the class table of an arena's pages holds for a slab of this class: not 0, which stands for every other page.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0 + 1
    }

    /// The class whose [`Self::byte`] this is, if it is one's.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn of_byte(byte: u8) -> Option<Self> {
        if byte == 0 { None } else { Some(Self(byte - 1)) }
    }

    /// Twice [`Self::index`].
    #[inline(always)]
    pub(crate) const fn doubled(self) -> u8 {
        self.0
    }
}

const _: () = assert!(2 * CLASSES < u8::MAX as usize);

/// `layout`'s size rounded up to a multiple of its alignment: what the class table and the large path go by. Cannot overflow:
/// a `Layout`'s rounded size is at most `isize::MAX`.
#[inline(always)]
#[must_use]
pub const fn round_to_align(layout: Layout) -> usize {
    // Every class is a multiple of 8, and most requests ask for no more. A branch, because the compiler would otherwise round for all.
    if layout.align() <= 8 {
        return layout.size();
    }
    cold();
    (layout.size() + layout.align() - 1) & !(layout.align() - 1)
}

/// Tells the compiler that the branch that calls it is unlikely.
#[cold]
#[inline(always)]
const fn cold() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_fits_with_at_most_an_eighth_wasted() {
        for size in 1..=MAX_SMALL {
            let class = Class::of(size);
            assert!(class.size() >= size);
            assert!(size <= 128 || (class.size() - size) * 8 <= size, "{size} in {}", class.size());
            assert!(class.index() == 0 || Class::from_index(class.index() - 1).size() < size);
        }
        assert_eq!(Class::of(MAX_SMALL).index(), CLASSES - 1);
    }

    #[test]
    fn every_class_of_an_aligned_size_keeps_the_alignment() {
        for shift in 0..=15 {
            let align = 1 << shift;
            for size in 1..=MAX_SMALL {
                let rounded = round_to_align(Layout::from_size_align(size, align).unwrap());
                assert_eq!(rounded, if align > 8 { size.next_multiple_of(align) } else { size });
                if rounded <= MAX_SMALL {
                    assert_eq!(Class::of(rounded).size() % align, 0, "{size} aligned to {align}");
                }
            }
        }
    }
}
