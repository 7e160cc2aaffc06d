//! The heap: pages with lists of holes, and a table that finds them.
//!
//! Places are counted in units from one page below the first, so that pages are numbered from 1. A *hole* here is a maximal free
//! stretch: it may start in one page, go on over free pages, and end in another. It belongs to the page that it starts in.

use crate::config::{KEPT_MOST, KEPT_PART, PAGE, PROBES, UNIT, UNITS};
use crate::ground::Ground;
use crate::holes::{Hole, Page};
use crate::mode::Mode;
use crate::table::{GROUP, Table};
use crate::word::{MAX_PAGES, Word, class};
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

/// A free stretch, in units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) at: usize,
    pub(crate) size: usize,
}

/// Where in which hole a block fits.
struct Find {
    hole: Stretch,
    at: usize,
}

/// A heap for one thread at a time. See theory 3.
#[derive(Debug)]
pub struct Heap<G, M> {
    /// Where unit 0 would be.
    pub(crate) base: *mut u8,
    pub(crate) table: Table,
    /// The unit behind the last one.
    pub(crate) end: usize,
    /// Units with the program.
    pub(crate) used: usize,
    pub(crate) ground: G,
    mode: PhantomData<M>,
}

// SAFETY: what the pointers lead to is the heap's alone.
unsafe impl<G: Send, M> Send for Heap<G, M> {}

/// Units for `bytes`: at least one.
#[inline]
pub(crate) const fn units(bytes: usize) -> usize {
    let units = bytes.div_ceil(UNIT);
    if units == 0 { 1 } else { units }
}

const fn page(unit: usize) -> usize {
    unit / UNITS
}

impl<G: Ground, M: Mode> Heap<G, M> {
    /// A heap that asks `ground` for memory at its first allocation.
    pub const fn new(ground: G) -> Self {
        Self { base: null_mut(), table: Table::EMPTY, end: UNITS, used: 0, ground, mode: PhantomData }
    }

    /// Memory for `layout`, or null.
    #[inline]
    pub fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let size = units(layout.size());
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
        let (at, size) = (self.unit(block), units(layout.size()));
        if M::CHECKED && !self.vet(block, size, layout.align()) {
            return;
        }
        self.used -= size;
        self.release(at, size);
        if G::RETURNS && self.used == 0 {
            self.table = Table::EMPTY;
            self.end = UNITS;
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
        let (at, old, new) = (self.unit(block), units(layout.size()), units(bytes));
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
        units(layout.size()) * UNIT
    }

    #[inline]
    pub(crate) fn address(&self, at: usize) -> *mut u8 {
        self.base.wrapping_add(at * UNIT)
    }

    #[inline]
    pub(crate) fn unit(&self, block: *mut u8) -> usize {
        block.addr().wrapping_sub(self.base.addr()) / UNIT
    }

    #[inline]
    pub(crate) fn list(&self, page: usize) -> Page {
        Page(self.base.wrapping_add(page * PAGE).cast())
    }

    /// Takes `size` units aligned to `align` bytes, from holes of less than `limit` or, if there is none, from the ground.
    fn place(&mut self, size: usize, align: usize, limit: usize) -> Option<usize> {
        // The first time the table may take what was got, or it may not adjoin what was there.
        for attempt in 0.. {
            if let Some(find) = self.find(size, align).filter(|find| find.hole.size < limit) {
                self.take(find.hole, find.at, size);
                return Some(find.at);
            }
            let tail = if G::GROWS && attempt < 2 { self.back(self.end) } else { 0 };
            if limit < usize::MAX || !self.extend((size + align / UNIT).saturating_sub(tail)) {
                break;
            }
        }
        None
    }

    /// A hole for `size` units aligned to `align` bytes: of the classes from theirs on, the first sixteen pages that have one (theory 6.1).
    fn find(&self, size: usize, align: usize) -> Option<Find> {
        let own = 1_u64 << class(size);
        let mut classes = self.table.classes() & own.wrapping_neg();
        let (mut probes, mut from) = (PROBES, 0);
        while probes >= GROUP {
            // No larger hole: one that is just as large may be further on.
            let lowest = if classes == 0 { own } else { classes & classes.wrapping_neg() };
            let group = self.table.next(from, lowest)?;
            for page in group..group + GROUP {
                let word = self.table.word(page);
                let may_fit = word.bit() == lowest && (word.ends_free() || word.largest() >= size);
                if may_fit && (!M::CHECKED || self.vet_list(page)) {
                    probes -= 1;
                    M::probe();
                    let find = self.scan(page, size, align).0;
                    if find.is_some() {
                        return find;
                    }
                }
            }
            if classes == 0 {
                from = group + GROUP;
            }
            classes &= !lowest;
            if probes < PROBES / 2 {
                // From here on the first look is good.
                classes &= !1 << class(size + align / UNIT);
            }
        }
        None
    }

    /// The tightest hole of `page` for `size` units aligned to `align` bytes, and what the table has to know of the page.
    #[inline(never)]
    fn scan(&self, page: usize, size: usize, align: usize) -> (Option<Find>, Word) {
        let (mut word, list, start) = (self.table.word(page), self.list(page), page * UNITS);
        let (mut find, mut limit) = (None, usize::MAX);
        let (mut most, mut largest, mut tail) = (0, 0, false);
        let mut next = word.first();
        if next == 0 && self.table.word(page - 1).ends_free() {
            // SAFETY: a page of the heap. Its first hole is the end of another page's.
            next = unsafe { list.hole(0).next };
        }
        while next < UNITS {
            // SAFETY: a page of the heap, `next` is below `UNITS`.
            let hole = if word.is_full() { Hole::PAGE } else { unsafe { list.hole(next) } };
            let mut length = hole.size;
            largest = largest.max(length);
            if next + length == UNITS {
                tail = true;
                length = self.ahead(start + next);
            }
            most = most.max(length);
            if length >= size && length < limit {
                let hole = Stretch { at: start + next, size: length };
                let at = self.aligned(hole.at, align);
                if at + size <= hole.at + length {
                    (find, limit) = (Some(Find { hole, at }), length);
                }
            }
            next = hole.next;
        }
        if !word.is_full() {
            word = Word::partial(word.first(), largest, tail);
        }
        (find, word.with_class(class(most)))
    }

    /// Units free from `at` on.
    pub(crate) fn ahead(&self, at: usize) -> usize {
        let (page, offset) = (page(at), at % UNITS);
        let (word, list) = (self.table.word(page), self.list(page));
        let mut size = word.run() * UNITS;
        if !word.is_full() {
            // SAFETY: a page of the heap that is not full, and a hole of it.
            unsafe {
                if list.before(word.first(), offset).next != offset {
                    return 0;
                }
                size = list.hole(offset).size;
            }
        }
        if (at + size).is_multiple_of(UNITS) { size + self.ahead(at + size) } else { size }
    }

    /// Units free right before `at`.
    pub(crate) fn back(&self, at: usize) -> usize {
        let page = page(at - 1);
        let word = self.table.word(page);
        let mut size = word.run() * UNITS;
        if !word.is_full() {
            let offset = at - page * UNITS;
            // SAFETY: a page of the heap that is not full.
            let hole = unsafe { self.list(page).before(word.first(), offset) };
            if hole.at + hole.size != offset {
                return 0;
            }
            size = hole.size;
        }
        if (at - size).is_multiple_of(UNITS) { size + self.back(at - size) } else { size }
    }

    /// Takes `size` units at `at` out of `hole`.
    fn take(&mut self, hole: Stretch, at: usize, size: usize) {
        let (to, end) = (at + size, hole.at + hole.size);
        // Neither the longest of its page, nor at its end: the word stays.
        let inner = hole.at % UNITS + hole.size < UNITS && hole.size < self.table.word(page(at)).largest();
        self.each_page(at, to, |heap, page, from, to| {
            let (word, list) = (heap.table.word(page), heap.list(page));
            if to - from == UNITS {
                return heap.table.set(page, Word::default());
            }
            // SAFETY: a page of the heap, in which a hole has all of that.
            let first = unsafe {
                if word.is_full() {
                    list.whole();
                }
                list.cut(word.first(), from, to)
            };
            heap.table.put(page, if inner { word.with_first(first) } else { word.begun(first) });
        });
        if inner {
            return;
        }
        // What follows first: a look at a page sees how far its last hole goes on.
        self.settle(to, end);
        if page(hole.at) < page(to) {
            self.settle(hole.at, at);
        }
    }

    /// Frees `size` units at `at`.
    pub(crate) fn release(&mut self, at: usize, size: usize) {
        let to = at + size;
        let (mut start, mut end) = (at, to);
        self.each_page(at, to, |heap, page, from, to| {
            let word = heap.table.word(page);
            let mut part = Hole { at: 0, size: UNITS, next: UNITS };
            if to - from < UNITS {
                // SAFETY: a page of the heap; the units are nobody's from here on.
                let (first, hole) = unsafe { heap.list(page).fill(word.first(), from, to) };
                heap.table.put(page, word.with_first(first));
                part = hole;
            }
            if part.size == UNITS {
                heap.table.set(page, Word::full(1));
            }
            start = start.min(page * UNITS + part.at);
            end = page * UNITS + part.at + part.size;
        });
        if start % UNITS == 0 {
            start -= self.back(start);
        }
        let last = page(end);
        if page(start) == last {
            // Nothing but a hole in its page: no need to look at the others.
            let word = self.table.word(last);
            return self.table.set(last, word.with_hole(end - start));
        }
        if end % UNITS == 0 {
            end += self.ahead(end);
            let word = self.table.word(last);
            if word.is_full() {
                // It begins no run any more.
                self.table.set(last, word.with_class(0));
            }
        }
        self.settle(start, end);
        if G::RETURNS {
            self.retire(at, to, start.div_ceil(UNITS), page(end));
        }
    }

    /// Calls `f` with each page of `from .. to` and the part of it, as offsets.
    fn each_page(&mut self, from: usize, to: usize, mut f: impl FnMut(&mut Self, usize, usize, usize)) {
        let mut at = from;
        while at < to {
            let start = at - at % UNITS;
            let end = to.min(start + UNITS);
            f(self, page(at), at - start, end - start);
            at = end;
        }
    }

    /// Tells the table of the hole `from .. to`, or that there is none between two blocks.
    fn settle(&mut self, from: usize, to: usize) {
        let (first, end) = (from.div_ceil(UNITS), page(to));
        if first < end {
            self.table.set(first, Word::full(end - first));
            self.table.set(end - 1, Word::full(end - first));
        }
        self.refresh(page(from));
        if page(from) < end {
            self.refresh(end);
        }
    }

    /// Looks at the holes of `page` anew.
    #[inline(never)]
    fn refresh(&mut self, page: usize) {
        self.table.set(page, self.scan(page, usize::MAX, 1).1);
    }

    /// Makes a block of `old` units one of `new`, another number.
    #[inline(never)]
    fn remake(&mut self, at: usize, old: usize, new: usize, align: usize) -> Option<usize> {
        let end = at + old;
        let mut limit = old;
        if new > old {
            limit = usize::MAX;
            let after = self.ahead(end);
            let below = if old + after < new { self.back(at) } else { 0 };
            let from = at - below;
            let place = self.aligned(from, align);
            if place + new <= end + after {
                if place < at {
                    self.take(Stretch { at: from, size: below }, place, at - place);
                }
                if place + new > end {
                    self.take(Stretch { at: end, size: after }, end, place + new - end);
                }
                self.copy(at, place, old);
                if place + new < end {
                    self.release(place + new, end - place - new);
                }
                return Some(place);
            }
        }
        let place = self.place(new, align, limit);
        if let Some(place) = place {
            self.copy(at, place, old.min(new));
            self.release(at, old);
        } else if new < old {
            self.release(at + new, old - new);
            return Some(at);
        }
        place
    }

    /// The first unit from `at` on that is aligned to `align` bytes.
    fn aligned(&self, at: usize, align: usize) -> usize {
        at + (self.address(at).addr().wrapping_neg() & (align - 1)) / UNIT
    }

    /// Copies `size` units, which may overlap.
    fn copy(&self, from: usize, to: usize, size: usize) {
        // SAFETY: both are the block's: as it was, and as it will be.
        unsafe { self.address(from).copy_to(self.address(to), size * UNIT) }
    }

    /// Asks the ground for `size` more units. False if there are none.
    fn extend(&mut self, size: usize) -> bool {
        let Some(bytes) = size.checked_mul(UNIT) else { return false };
        let Some((at, len)) = self.ground.grow(bytes) else { return false };
        if self.base.is_null() {
            self.base = at.as_ptr().wrapping_sub(at.addr().get() % UNIT + PAGE);
        }
        let Some(from) = at.addr().get().checked_sub(self.base.addr()) else { return false };
        let (mut from, to) = (from.div_ceil(UNIT), (from + len) / UNIT);
        let pages = to.div_ceil(UNITS) - 1;
        if G::GROWS && from < self.end || from >= to || pages > MAX_PAGES {
            return false;
        }
        let old = self.table.parts();
        if !G::GROWS || pages > self.table.pages() {
            let skip = self.address(from).addr().wrapping_neg() % crate::table::ALIGN;
            let places = Table::places(pages + if G::GROWS && old.1 > 0 { pages / 2 } else { 0 });
            let bytes = Table::bytes(places);
            let place = from + skip / UNIT;
            from = place + units(bytes);
            if from >= to {
                return false;
            }
            // SAFETY: memory that was just handed out, and enough of it.
            unsafe {
                self.address(place).write_bytes(0, bytes);
                let new = Table::new(self.address(place), places);
                if G::GROWS {
                    self.table.move_to(new);
                }
                self.table = new;
            }
        }
        self.end = to;
        self.release(from, to - from);
        if G::GROWS && old.1 > 0 && self.table.parts() != old {
            self.release(self.unit(old.0), units(Table::bytes(old.1)));
        }
        true
    }

    /// Gives the pages among `at .. to` back that are free now, or takes note of them. Free are `from .. end`.
    fn retire(&mut self, at: usize, to: usize, from: usize, end: usize) {
        let free = from.max(page(at))..end.min(page(to - 1) + 1);
        let most = (page(self.end) / KEPT_PART).min(KEPT_MOST);
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

    /// Gives back those of `pages` that are free; returns their bytes.
    pub(crate) fn give_back(&mut self, pages: core::ops::Range<usize>) -> usize {
        let (mut start, mut bytes) = (pages.start, 0);
        for page in pages.start..pages.end + 1 {
            if page < pages.end && self.table.word(page).is_full() {
                continue;
            }
            if let Some(at) = NonNull::new(self.address(start * UNITS)).filter(|_| start < page) {
                // SAFETY: free pages of the heap, whose words say all that is known of them.
                unsafe { self.ground.purge(at, (page - start) * PAGE) };
                bytes += (page - start) * PAGE;
            }
            start = page + 1;
        }
        bytes
    }
}
