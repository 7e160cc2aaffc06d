//! The first book: lists of holes in the holes, page by page, under a table that finds them (theory 2.2 to 2.4).

mod check;
mod holes;
mod table;
mod word;

use crate::book::{Book, Stretch};
use crate::check::Broken;
use crate::class::class;
use crate::config::{PAGE, PROBES, UNIT, UNITS};
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use crate::stats::Stats;
use holes::{Hole, Page};
use kmem_base::fault::Fault;
use table::GROUP;
use word::{MAX_PAGES, Word};

pub use table::Lists;

impl<G: Ground, M: Mode> Heap<G, M, Lists> {
    #[inline]
    pub(crate) fn list(&self, page: usize) -> Page {
        Page(self.base.wrapping_add(page * PAGE).cast())
    }

    /// A hole for `size` units aligned to `align` bytes: of the classes from theirs on, the first sixteen pages that have one (theory 6.1).
    fn find(&self, size: usize, align: usize) -> Stretch {
        let own = 1_u64 << class(size);
        let mut classes = self.book.classes() & own.wrapping_neg();
        let (mut probes, mut from) = (PROBES, 0);
        while probes >= GROUP {
            // No larger hole: one that is just as large may be further on.
            let lowest = if classes == 0 { own } else { classes & classes.wrapping_neg() };
            let group = self.book.next(from, lowest);
            let Some(group) = group else { break };
            for page in group..group + GROUP {
                let word = self.book.word(page);
                let may_fit = word.bit() == lowest && (word.ends_free() || word.largest() >= size);
                if may_fit && (!M::CHECKED || self.vet_list(page)) {
                    probes -= 1;
                    M::probe();
                    let hole = self.scan(page, size, align).0;
                    if hole.size > 0 {
                        return hole;
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
        Stretch::default()
    }

    /// The tightest hole of `page` for `size` units aligned to `align` bytes, and what the table has to know of the page.
    #[inline(never)]
    fn scan(&self, page: usize, size: usize, align: usize) -> (Stretch, Word) {
        let (mut word, list, start) = (self.book.word(page), self.list(page), page * UNITS);
        let (mut find, mut limit) = (Stretch::default(), usize::MAX);
        let (mut most, mut largest, mut tail) = (0, 0, false);
        let mut next = word.first();
        if next == 0 && self.book.word(page - 1).ends_free() {
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
                let at = start + next;
                if size + self.skew(at, align) <= length {
                    (find, limit) = (Stretch { at, size: length }, length);
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
        let (page, offset) = (Self::page(at), at % UNITS);
        let (word, list) = (self.book.word(page), self.list(page));
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
        let page = Self::page(at - 1);
        let word = self.book.word(page);
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
        let inner = hole.at % UNITS + hole.size < UNITS && hole.size < self.book.word(Self::page(at)).largest();
        self.each_page(at, to, |heap, page, from, to| {
            let (word, list) = (heap.book.word(page), heap.list(page));
            if to - from == UNITS {
                return heap.book.set(page, Word::default());
            }
            // SAFETY: a page of the heap, in which a hole has all of that.
            let first = unsafe {
                if word.is_full() {
                    list.whole();
                }
                list.cut(word.first(), from, to)
            };
            heap.book.put(page, if inner { word.with_first(first) } else { word.begun(first) });
        });
        if inner {
            return;
        }
        // What follows first: a look at a page sees how far its last hole goes on.
        self.settle(to, end);
        if Self::page(hole.at) < Self::page(to) {
            self.settle(hole.at, at);
        }
    }

    /// Frees `size` units at `at`.
    pub(crate) fn release(&mut self, at: usize, size: usize) {
        let to = at + size;
        let (mut start, mut end) = (at, to);
        self.each_page(at, to, |heap, page, from, to| {
            let word = heap.book.word(page);
            let mut part = Hole { at: 0, size: UNITS, next: UNITS };
            if to - from < UNITS {
                // SAFETY: a page of the heap; the units are nobody's from here on.
                let (first, hole) = unsafe { heap.list(page).fill(word.first(), from, to) };
                heap.book.put(page, word.with_first(first));
                part = hole;
            }
            if part.size == UNITS {
                heap.book.set(page, Word::full(1));
            }
            start = start.min(page * UNITS + part.at);
            end = page * UNITS + part.at + part.size;
        });
        if start % UNITS == 0 {
            start -= self.back(start);
        }
        let last = Self::page(end);
        if Self::page(start) == last {
            // Nothing but a hole in its page: no need to look at the others.
            let word = self.book.word(last);
            return self.book.set(last, word.with_hole(end - start));
        }
        if end % UNITS == 0 {
            end += self.ahead(end);
            let word = self.book.word(last);
            if word.is_full() {
                // It begins no run any more.
                self.book.set(last, word.with_class(0));
            }
        }
        self.settle(start, end);
        if G::RETURNS {
            self.retire(at, to, start.div_ceil(UNITS), Self::page(end));
        }
    }

    /// Calls `f` with each page of `from .. to` and the part of it, as offsets.
    fn each_page(&mut self, from: usize, to: usize, mut f: impl FnMut(&mut Self, usize, usize, usize)) {
        let mut at = from;
        while at < to {
            let start = at - at % UNITS;
            let end = to.min(start + UNITS);
            f(self, Self::page(at), at - start, end - start);
            at = end;
        }
    }

    /// Tells the table of the hole `from .. to`, or that there is none between two blocks.
    fn settle(&mut self, from: usize, to: usize) {
        let (first, end) = (from.div_ceil(UNITS), Self::page(to));
        if first < end {
            self.book.set(first, Word::full(end - first));
            self.book.set(end - 1, Word::full(end - first));
        }
        self.refresh(Self::page(from));
        if Self::page(from) < end {
            self.refresh(end);
        }
    }

    /// Looks at the holes of `page` anew.
    #[inline(never)]
    fn refresh(&mut self, page: usize) {
        self.book.set(page, self.scan(page, usize::MAX, 1).1);
    }
}

impl Book for Lists {
    const UNIT: usize = UNIT;
    const MOST: usize = MAX_PAGES;
    const ALIGN: usize = table::ALIGN;
    const EMPTY: Self = Self::NONE;

    fn pages(&self) -> usize {
        self.pages()
    }

    fn parts(&self) -> (*mut u8, usize) {
        self.parts()
    }

    fn places(pages: usize) -> usize {
        Self::places(pages)
    }

    fn bytes(places: usize) -> usize {
        Self::bytes(places)
    }

    unsafe fn open<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, at: *mut u8, places: usize) {
        // SAFETY: the caller's.
        let new = unsafe { Self::new(at, places) };
        if G::GROWS {
            heap.book.move_to(new);
        }
        heap.book = new;
    }

    #[inline]
    fn find<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, size: usize, align: usize) -> Stretch {
        heap.find(size, align)
    }

    #[inline]
    fn take<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, hole: Stretch, at: usize, size: usize) {
        heap.take(hole, at, size);
    }

    #[inline]
    fn release<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, at: usize, size: usize) {
        heap.release(at, size);
    }

    #[inline]
    fn ahead<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize) -> usize {
        heap.ahead(at)
    }

    #[inline]
    fn back<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize) -> usize {
        heap.back(at)
    }

    fn is_free<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, page: usize) -> bool {
        heap.book.word(page).is_full()
    }

    fn vet<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize, size: usize) -> Result<(), Fault> {
        heap.vet_lists(at, size)
    }

    fn check<G: Ground, M: Mode>(heap: &Heap<G, M, Self>) -> Result<(), Broken> {
        heap.check_lists()
    }

    fn tally<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, stats: &mut Stats) {
        heap.tally_lists(stats);
    }
}
