//! What the table knows of a page: one word of 32 bits.
//!
//! ```text
//!  31     26 25   24   23          12 11           0
//! | class   |full|tail| largest hole | first hole   |    a page in use, entirely or in part
//! | class   | 1  | 0  | pages of the run            |    a free page
//! ```
//!
//! Zero is a page without holes. A run's length stands in the words of its first and its last page; the words between are not looked at.

use crate::class::class;
use crate::config::UNITS;

const FULL: u32 = 1 << 25;
const TAIL: u32 = 1 << 24;
const CLASS_SHIFT: u32 = 26;
const HALF: u32 = 12;
const HALF_MASK: u32 = (1 << HALF) - 1;
const RUN_MASK: u32 = (1 << 24) - 1;

/// The most pages of a heap.
pub(crate) const MAX_PAGES: usize = RUN_MASK as usize;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub(crate) struct Word(u32);

impl Word {
    /// A page with `first` and `largest` hole, in units (`UNITS` if there is none), of which the last reaches the page's end if `tail`.
    pub(crate) const fn partial(first: usize, largest: usize, tail: bool) -> Self {
        Self((UNITS - first) as u32 | (largest as u32) << HALF | if tail { TAIL } else { 0 })
    }

    /// A free page at an end of a run of `pages`.
    pub(crate) const fn full(pages: usize) -> Self {
        Self(FULL | pages as u32)
    }

    /// The same, not full, with `first` hole.
    pub(crate) const fn with_first(self, first: usize) -> Self {
        Self(self.0 & !(FULL | HALF_MASK) | (UNITS - first) as u32)
    }

    /// The same in `class`.
    pub(crate) const fn with_class(self, class: u32) -> Self {
        Self(self.0 & ((1 << CLASS_SHIFT) - 1) | class << CLASS_SHIFT)
    }

    /// The same with one more hole, of `units`, that starts and ends within the page.
    pub(crate) const fn with_hole(self, units: usize) -> Self {
        let (class, largest) = (class(units), self.largest());
        let largest = if units > largest { units } else { largest };
        let old = self.0 >> CLASS_SHIFT;
        Self(self.0 & (TAIL | HALF_MASK) | (largest as u32) << HALF).with_class(if class > old { class } else { old })
    }

    /// The page's class for one with `first` hole, of whose holes nothing is known yet.
    pub(crate) const fn begun(self, first: usize) -> Self {
        Self(self.0 & !((1 << CLASS_SHIFT) - 1) | (UNITS - first) as u32)
    }

    /// The class of the largest hole that starts here; 0 if none does.
    pub(crate) const fn class(self) -> u32 {
        self.0 >> CLASS_SHIFT
    }

    /// The class of the largest hole that starts here, as a bit; none if none does.
    pub(crate) const fn bit(self) -> u64 {
        (1 << self.class()) & !1
    }

    /// All of the page is free.
    pub(crate) const fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    /// The page's last unit is free.
    pub(crate) const fn ends_free(self) -> bool {
        self.0 & (FULL | TAIL) != 0
    }

    /// Pages of the run; of one of its ends.
    pub(crate) const fn run(self) -> usize {
        (self.0 & RUN_MASK) as usize
    }

    /// Offset of the first hole; `UNITS` if there is none.
    pub(crate) const fn first(self) -> usize {
        if self.is_full() { 0 } else { UNITS - (self.0 & HALF_MASK) as usize }
    }

    /// Units of the largest hole, the one at the page's beginning left out if it is the end of another page's.
    pub(crate) const fn largest(self) -> usize {
        (self.0 >> HALF & HALF_MASK) as usize
    }

    /// True if the last hole reaches the page's end.
    pub(crate) const fn tail(self) -> bool {
        self.0 & TAIL != 0
    }
}
