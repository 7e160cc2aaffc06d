//! The invariants of the lists (theory 4), walked; and what a checked heap verifies before it believes its program.

use super::Lists;
use super::holes::Hole;
use super::word::Word;
use crate::book::Stretch;
use crate::check::{Broken, require};
use crate::class::class;
use crate::config::{UNIT, UNITS};
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use crate::stats::Stats;
use kmem_base::fault::Fault;

impl<G: Ground, M: Mode> Heap<G, M, Lists> {
    pub(crate) fn check_lists(&self) -> Result<(), Broken> {
        let mut run = 0;
        for page in 1..=self.pages() {
            let word = self.book.word(page);
            run = if word.is_full() { run + 1 } else { 0 };
            self.check_list(page, word)?;
            self.check_word(page, word, run)?;
        }
        let places = self.book.parts().1;
        require((0..places).all(|page| self.book.is_indexed(page)), "the index knows each page's class", 0)
    }

    /// What is free, where, and how many pages are.
    pub(crate) fn tally_lists(&self, stats: &mut Stats) {
        for page in 1..=self.pages() {
            let word = self.book.word(page);
            stats.empty_pages += usize::from(word.is_full());
            self.each_piece(page, |piece| stats.free += piece.size * UNIT);
            if word.bit() != 0 {
                self.each_hole(page, |hole| stats.largest_hole = stats.largest_hole.max(hole.size * UNIT));
            }
        }
    }

    /// Calls `f` with each hole of the page's list, and with a full page as one.
    pub(crate) fn each_piece(&self, page: usize, mut f: impl FnMut(Hole)) {
        let word = self.book.word(page);
        if word.is_full() {
            return f(Hole::PAGE);
        }
        let mut next = word.first();
        while next < UNITS {
            // SAFETY: a page of the heap, `next` is below `UNITS`.
            let hole = unsafe { self.list(page).hole(next) };
            f(hole);
            next = hole.next;
        }
    }

    /// Calls `f` with each hole that begins in `page`, in full length.
    pub(crate) fn each_hole(&self, page: usize, mut f: impl FnMut(Stretch)) {
        let continues = self.book.word(page - 1).ends_free();
        self.each_piece(page, |piece| {
            if piece.at > 0 || !continues {
                let at = page * UNITS + piece.at;
                f(Stretch { at, size: self.ahead(at) });
            }
        });
    }

    fn check_list(&self, page: usize, word: Word) -> Result<(), Broken> {
        // SAFETY: a page of the heap.
        require(word.is_full() || unsafe { self.list(page).is_sound(word.first()) }, "holes ascend, apart from each other", page)?;
        let mut whole = false;
        self.each_piece(page, |hole| whole |= hole.size == UNITS);
        require(word.is_full() == whole, "a page that is free is full, and has no list", page)
    }

    /// The word of a page: `run` is how many free pages end with it.
    fn check_word(&self, page: usize, word: Word, run: usize) -> Result<(), Broken> {
        let (mut largest, mut most, mut last) = (0, 0, 0);
        self.each_piece(page, |hole| {
            last = hole.at + hole.size;
            largest = largest.max(if hole.at == 0 && self.book.word(page - 1).ends_free() { 0 } else { hole.size });
        });
        let starts = !word.is_full() || !self.book.word(page - 1).ends_free();
        if starts {
            self.each_hole(page, |hole| most = most.max(hole.size));
        }
        require(
            word.bit() == Word::default().with_class(class(most)).bit(),
            "a page is in the class of the largest hole that starts in it",
            page,
        )?;
        if word.is_full() {
            let (first, end) = (page + 1 - run, !self.book.word(page + 1).is_full());
            let agree = word.run() == run && self.book.word(first).run() == run;
            return require(!end || agree, "both ends of a run know its length", page);
        }
        require(word.tail() == (last == UNITS), "a page knows whether its end is free", page)?;
        require(word.largest() == largest, "a page knows its largest hole", page)
    }

    /// Whether none of the `size` units at `at` is free, and the lists around can be walked.
    pub(crate) fn vet_lists(&self, at: usize, size: usize) -> Result<(), Fault> {
        let mut place = at;
        while place < at + size {
            let (page, offset) = (place / UNITS, place % UNITS);
            let (word, part) = (self.book.word(page), (at + size - place).min(UNITS - offset));
            // SAFETY: a page of the heap.
            if !word.is_full() && !unsafe { self.list(page).is_sound(word.first()) } {
                return Err(Fault::Corrupted);
            }
            let mut free = false;
            self.each_piece(page, |hole| free |= hole.at < offset + part && offset < hole.at + hole.size);
            if free {
                return Err(Fault::DoubleFree);
            }
            place += part;
        }
        Ok(())
    }

    /// Whether the list of `page` can be walked. Reports it if not.
    pub(crate) fn vet_list(&self, page: usize) -> bool {
        let word = self.book.word(page);
        // SAFETY: a page of the heap.
        let sound = word.is_full() || unsafe { self.list(page).is_sound(word.first()) };
        if !sound {
            M::fault(Fault::Corrupted, self.address(page * UNITS).addr());
        }
        sound
    }
}
