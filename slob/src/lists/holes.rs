//! The holes of one page: SLOB's list, in the holes themselves.
//!
//! The list is in the order of addresses. A hole holds its size, then the offset of the next one; where a unit has no room for both, a
//! hole of one unit holds minus that offset. Offsets are in units from the page's start, and [`UNITS`] ends the list. Nothing here trusts what it reads further than
//! that it stays within the page, and that a walk ends: offsets that do not ascend end it.

use crate::config::{STRIDE, UNITS};

/// A hole within a page, in units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hole {
    pub(crate) at: usize,
    pub(crate) size: usize,
    /// Offset of the next one, or [`UNITS`].
    pub(crate) next: usize,
}

impl Hole {
    /// None: what is in front of the first.
    pub(crate) const START: Self = Self { at: 0, size: 0, next: 0 };
    /// All of a page.
    pub(crate) const PAGE: Self = Self { at: 0, size: UNITS, next: UNITS };
}

/// The page at an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page(pub(crate) *mut i16);

/// Where a list ends that was overwritten. Out of line, so that walks do not wait for a choice that is always the same.
#[cold]
#[inline(never)]
const fn end() -> usize {
    UNITS
}

impl Page {
    /// Size and next hole of the one at `at`, as they stand there.
    ///
    /// # Safety
    /// The page is the heap's, `at < UNITS`.
    #[inline]
    unsafe fn numbers(self, at: usize) -> (isize, isize) {
        // SAFETY: within the page: the second number is read only if the hole has two units, or the unit two numbers.
        unsafe {
            let place = self.0.add(at * STRIDE);
            let first = isize::from(place.read());
            if STRIDE > 1 || first > 1 && at + 1 < UNITS { (first, isize::from(place.add(1).read())) } else { (1, -first) }
        }
    }

    /// The hole at `at`.
    ///
    /// # Safety
    /// The page is the heap's, `at < UNITS`.
    #[inline]
    pub(crate) unsafe fn hole(self, at: usize) -> Hole {
        // SAFETY: within the page: the second number is read only if the hole has two units, or the unit two numbers.
        unsafe {
            let (size, next) = self.numbers(at);
            // A list that was overwritten must not lead out of the page, or in circles.
            let next = if next > at as isize && next <= UNITS as isize { next as usize } else { end() };
            Hole { at, size: (size as usize).min(next - at), next }
        }
    }

    /// True if the holes from `first` on ascend, do not touch each other, and end with the page.
    ///
    /// # Safety
    /// The page is the heap's.
    pub(crate) unsafe fn is_sound(self, first: usize) -> bool {
        let (mut at, mut end) = (first, None);
        while at < UNITS {
            // SAFETY: within the page.
            let (size, next) = unsafe { self.numbers(at) };
            let stays = size > 0 && size <= UNITS as isize && at as isize + size <= next && next <= UNITS as isize;
            if !stays || end == Some(at) {
                return false;
            }
            (at, end) = (next as usize, Some(at + size as usize));
        }
        at == UNITS
    }

    /// Writes a hole.
    ///
    /// # Safety
    /// The page is the heap's, and the hole's units are nobody's.
    #[inline]
    unsafe fn write(self, hole: Hole) {
        // SAFETY: as in `hole`.
        unsafe {
            let place = self.0.add(hole.at * STRIDE);
            if STRIDE > 1 || hole.size > 1 {
                place.write(hole.size as i16);
                place.add(1).write(hole.next as i16);
            } else {
                place.write(-(hole.next as i16));
            }
        }
    }

    /// The last hole that starts before `at`; if none does, one of no units in front of the first.
    ///
    /// # Safety
    /// The page is the heap's, `first` its first hole.
    pub(crate) unsafe fn before(self, first: usize, at: usize) -> Hole {
        let mut hole = Hole { next: first, ..Hole::START };
        while hole.next < at {
            // SAFETY: below `at`, which is at most `UNITS`.
            hole = unsafe { self.hole(hole.next) };
        }
        hole
    }

    /// Frees `from .. to`; returns the new first hole, and the hole that this is part of now.
    ///
    /// # Safety
    /// The page is the heap's, `first` its first hole, and the units are nobody's and in no hole.
    pub(crate) unsafe fn fill(self, mut first: usize, from: usize, to: usize) -> (usize, Hole) {
        // SAFETY: the caller's.
        unsafe {
            let previous = self.before(first, from);
            let mut hole = Hole { at: from, size: to - from, next: previous.next };
            if hole.next == to && to < UNITS {
                let after = self.hole(to);
                hole.size += after.size;
                hole.next = after.next;
            }
            if previous.size == 0 {
                first = from;
            } else if previous.at + previous.size == from {
                hole.at = previous.at;
                hole.size += previous.size;
            } else {
                self.write(Hole { next: from, ..previous });
            }
            self.write(hole);
            (first, hole)
        }
    }

    /// Takes `from .. to` out of the hole that it lies in; returns the new first hole.
    ///
    /// # Safety
    /// The page is the heap's, `first` its first hole, and one hole holds all of `from .. to`.
    pub(crate) unsafe fn cut(self, first: usize, from: usize, to: usize) -> usize {
        // SAFETY: the caller's.
        unsafe {
            let mut left = self.before(first, from);
            let hole = if left.next == from { self.hole(from) } else { left };
            let (end, mut rest) = (hole.at + hole.size, hole.next);
            if to < end {
                self.write(Hole { at: to, size: end - to, next: rest });
                rest = to;
            }
            if left.next != from {
                left.size = from - left.at;
            }
            left.next = rest;
            if left.size == 0 {
                return rest;
            }
            self.write(left);
            first
        }
    }

    /// Makes the page one hole.
    ///
    /// # Safety
    /// The page is the heap's, all of it nobody's.
    pub(crate) unsafe fn whole(self) {
        // SAFETY: the caller's.
        unsafe { self.write(Hole::PAGE) }
    }
}
