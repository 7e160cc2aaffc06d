//! The heap: what a program asks for, in units; the book says where there is room.
//!
//! Places are counted in units from one page below the first, so that pages are numbered from 1. A *hole* here is a maximal free
//! stretch: it may start in one page, go on over free pages, and end in another. It belongs to the page that it starts in.

use crate::book::{Book, Lists, Stretch};
use crate::config::{KEPT_MOST, KEPT_PART, PAGE};
use crate::ground::Ground;
use crate::mode::Mode;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

/// A heap for one thread at a time. See theory 3.
#[derive(Debug)]
pub struct Heap<G, M, B = Lists> {
    /// Where unit 0 would be.
    pub(crate) base: *mut u8,
    pub(crate) book: B,
    /// The unit behind the last one.
    pub(crate) end: usize,
    /// Units with the program.
    pub(crate) used: usize,
    pub(crate) ground: G,
    mode: PhantomData<M>,
}

// SAFETY: what the pointers lead to is the heap's alone.
unsafe impl<G: Send, M, B> Send for Heap<G, M, B> {}

impl<G: Ground, M: Mode, B: Book> Heap<G, M, B> {
    /// A heap that asks `ground` for memory at its first allocation.
    pub const fn new(ground: G) -> Self {
        Self { base: null_mut(), book: B::EMPTY, end: B::UNITS, used: 0, ground, mode: PhantomData }
    }

    /// Memory for `layout`, or null.
    #[inline]
    pub fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let size = Self::units(layout.size());
        let Some(at) = self.place(size, layout.align(), usize::MAX) else { return null_mut() };
        self.used += size;
        self.address(at)
    }

    /// Frees a block.
    ///
    /// # Safety
    /// It is this heap's, allocated with `layout`, and dead.
    #[inline]
    pub unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        let (at, size) = (self.unit(block), Self::units(layout.size()));
        if M::CHECKED && !self.vet(block, size, layout.align()) {
            return;
        }
        self.used -= size;
        B::release(self, at, size);
        if G::RETURNS && self.used == 0 {
            self.book = B::EMPTY;
            self.end = B::UNITS;
            // SAFETY: nothing is in use, and the table is forgotten.
            unsafe { self.ground.reset() };
        }
    }

    /// Makes a block larger or smaller: where it is, or in a tighter hole, or together with the holes around it, or elsewhere. Null if
    /// there is no memory; the block is then as before.
    ///
    /// # Safety
    /// As [`Self::dealloc`]; `bytes`, rounded up to the alignment, is at most `isize::MAX`.
    pub unsafe fn realloc(&mut self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let (at, old, new) = (self.unit(block), Self::units(layout.size()), Self::units(bytes));
        if M::CHECKED && !self.vet(block, old, layout.align()) {
            return null_mut();
        }
        if new == old {
            return block;
        }
        let Some(at) = self.remake(at, old, new, layout.align()) else { return null_mut() };
        self.used = self.used + new - old;
        self.address(at)
    }

    /// Bytes that a block of `layout` can be used for.
    #[must_use]
    pub const fn usable_size(layout: Layout) -> usize {
        Self::units(layout.size()) * B::UNIT
    }

    /// Units for `bytes`: at least one.
    #[inline]
    pub(crate) const fn units(bytes: usize) -> usize {
        let units = bytes.div_ceil(B::UNIT);
        if units == 0 { 1 } else { units }
    }

    /// The page that `unit` is in.
    #[inline]
    pub(crate) const fn page(unit: usize) -> usize {
        unit / B::UNITS
    }

    #[inline]
    pub(crate) fn address(&self, at: usize) -> *mut u8 {
        self.base.wrapping_add(at * B::UNIT)
    }

    #[inline]
    pub(crate) fn unit(&self, block: *mut u8) -> usize {
        block.addr().wrapping_sub(self.base.addr()) / B::UNIT
    }

    /// Takes `size` units aligned to `align` bytes, from holes of less than `limit` or, if there is none, from the ground.
    fn place(&mut self, size: usize, align: usize, limit: usize) -> Option<usize> {
        // The first time the table may take what was got, or it may not adjoin what was there.
        for attempt in 0.. {
            let hole = B::find(self, size, align);
            if hole.size > 0 && hole.size < limit {
                let at = self.aligned(hole.at, align);
                B::take(self, hole, at, size);
                return Some(at);
            }
            let tail = if G::GROWS && attempt < 2 { B::back(self, self.end) } else { 0 };
            if limit < usize::MAX || !self.extend((size + align / B::UNIT).saturating_sub(tail)) {
                break;
            }
        }
        None
    }

    /// Makes a block of `old` units one of `new`, another number.
    #[inline(never)]
    fn remake(&mut self, at: usize, old: usize, new: usize, align: usize) -> Option<usize> {
        let end = at + old;
        let mut limit = old;
        if new > old {
            limit = usize::MAX;
            let after = B::ahead(self, end);
            let below = if old + after < new { B::back(self, at) } else { 0 };
            let from = at - below;
            let place = self.aligned(from, align);
            if place + new <= end + after {
                if place < at {
                    B::take(self, Stretch { at: from, size: below }, place, at - place);
                }
                if place + new > end {
                    B::take(self, Stretch { at: end, size: after }, end, place + new - end);
                }
                self.copy(at, place, old);
                if place + new < end {
                    B::release(self, place + new, end - place - new);
                }
                return Some(place);
            }
        }
        let place = self.place(new, align, limit);
        if let Some(place) = place {
            self.copy(at, place, old.min(new));
            B::release(self, at, old);
        } else if new < old {
            B::release(self, at + new, old - new);
            return Some(at);
        }
        place
    }

    /// The first unit from `at` on that is aligned to `align` bytes.
    pub(crate) fn aligned(&self, at: usize, align: usize) -> usize {
        at + self.skew(at, align)
    }

    /// Units from `at` on that are in front of it.
    #[inline]
    pub(crate) fn skew(&self, at: usize, align: usize) -> usize {
        (self.address(at).addr().wrapping_neg() & (align - 1)) / B::UNIT
    }

    /// Copies `size` units, which may overlap.
    fn copy(&self, from: usize, to: usize, size: usize) {
        // SAFETY: both are the block's: as it was, and as it will be.
        unsafe { self.address(from).copy_to(self.address(to), size * B::UNIT) }
    }

    /// Asks the ground for `size` more units. False if there are none.
    fn extend(&mut self, size: usize) -> bool {
        let Some(bytes) = size.checked_mul(B::UNIT) else { return false };
        match self.claim(bytes) {
            // What came is left for good, since a table must lie in one piece: next to nothing beside what it is a table of.
            Err(table) if G::GROWS && table > 0 => self.claim(bytes.saturating_add(2 * table)).is_ok(),
            result => result.is_ok(),
        }
    }

    /// Asks the ground for `bytes` and makes what comes a hole, in front of which there may be a new table. An error is the bytes of a table
    /// that had no room, 0 if it was another.
    fn claim(&mut self, bytes: usize) -> Result<(), usize> {
        let (at, len) = self.ground.grow(bytes).ok_or(0_usize)?;
        if self.base.is_null() {
            self.base = at.as_ptr().wrapping_sub(at.addr().get() % B::UNIT + PAGE);
        }
        let from = at.addr().get().checked_sub(self.base.addr()).ok_or(0_usize)?;
        let (mut from, to) = (from.div_ceil(B::UNIT), (from + len) / B::UNIT);
        let pages = to.div_ceil(B::UNITS) - 1;
        if G::GROWS && from < self.end || from >= to || pages > B::MOST {
            return Err(0);
        }
        let old = self.book.parts();
        if !G::GROWS || pages > self.book.pages() {
            let skip = self.address(from).addr().wrapping_neg() % B::ALIGN;
            let places = B::places(pages + if G::GROWS && old.1 > 0 { pages / 2 } else { 0 });
            let bytes = B::bytes(places);
            let place = from + skip / B::UNIT;
            from = place + Self::units(bytes);
            if from >= to {
                return Err(bytes);
            }
            // SAFETY: memory that was just handed out, and enough of it.
            unsafe {
                self.address(place).write_bytes(0, bytes);
                B::open(self, self.address(place), places);
            }
        }
        self.end = to;
        B::release(self, from, to - from);
        if G::GROWS && old.1 > 0 && self.book.parts() != old {
            B::release(self, self.unit(old.0), Self::units(B::bytes(old.1)));
        }
        Ok(())
    }

    /// Gives the pages among `at .. to` back that are free now, or takes note of them. Free are `from .. end`.
    pub(crate) fn retire(&mut self, at: usize, to: usize, from: usize, end: usize) {
        let free = from.max(Self::page(at))..end.min(Self::page(to - 1) + 1);
        let most = (Self::page(self.end) / KEPT_PART).min(KEPT_MOST);
        let Some(pending) = self.ground.pending() else { return };
        if free.is_empty() {
            return;
        }
        let both = pending.start.min(free.start)..pending.end.max(free.end);
        if free.start <= pending.end && pending.start <= free.end && both.len() <= most {
            *pending = both;
            return;
        }
        let old = core::mem::replace(pending, 0..0);
        self.give_back(old);
        if free.len() > most {
            self.give_back(free);
        } else if let Some(pending) = self.ground.pending() {
            *pending = free;
        }
    }

    /// Strikes the pages of `at .. to` from the note of those to be given back; what is left of that must be in one piece.
    pub(crate) fn keep(&mut self, at: usize, to: usize) {
        let (from, end) = (Self::page(at), Self::page(to - 1) + 1);
        let Some(pending) = self.ground.pending() else { return };
        if pending.start < end && from < pending.end {
            let (below, above) = (pending.start..from, end..pending.end);
            let (more, less) = if below.len() > above.len() { (below, above) } else { (above, below) };
            *pending = more;
            self.give_back(less);
        }
    }

    /// Gives back those of `pages` that are free; returns their bytes.
    pub(crate) fn give_back(&mut self, pages: core::ops::Range<usize>) -> usize {
        let (mut start, mut bytes) = (pages.start, 0);
        for page in pages.start..pages.end + 1 {
            if page < pages.end && B::is_free(self, page) {
                continue;
            }
            if let Some(at) = NonNull::new(self.address(start * B::UNITS)).filter(|_| start < page) {
                // SAFETY: free pages of the heap, whose words say all that is known of them.
                unsafe { self.ground.purge(at, (page - start) * PAGE) };
                bytes += (page - start) * PAGE;
            }
            start = page + 1;
        }
        bytes
    }
}
