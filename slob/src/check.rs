//! The invariants (theory 4), walked; and what a checked heap verifies before it believes its program.

use crate::config::{UNIT, UNITS};
use crate::ground::Ground;
use crate::heap::{Heap, Stretch, units};
use crate::holes::Hole;
use crate::mode::Mode;
use crate::table::Table;
use crate::word::{Word, class};
use kmem_base::fault::Fault;

/// Which invariant is broken, and at which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// What does not hold.
    pub invariant: &'static str,
    /// The page, counted from 1; 0 for the heap as a whole.
    pub page: usize,
}

impl<G: Ground, M: Mode> Heap<G, M> {
    /// Walks every invariant. Time in proportion to the heap.
    ///
    /// # Errors
    /// The first one broken: a mistake of the program, which wrote where it should not have, or of this crate.
    pub fn check(&self) -> Result<(), Broken> {
        let (mut free, mut run) = (0, 0);
        for page in 1..=self.pages() {
            let word = self.table.word(page);
            run = if word.is_full() { run + 1 } else { 0 };
            self.check_list(page, word)?;
            self.check_word(page, word, run)?;
            self.each_piece(page, |hole| free += hole.size);
        }
        let places = self.table.parts().1;
        let table = if places == 0 { 0 } else { units(Table::bytes(places)) };
        require(self.used + free + table <= self.end - UNITS, "what is in use, free, and the table are no more than there is", 0)?;
        require((0..places).all(|page| self.table.is_indexed(page)), "the index knows each page's class", 0)
    }

    /// Pages that the heap extends over.
    pub(crate) fn pages(&self) -> usize {
        self.end.div_ceil(UNITS) - 1
    }

    /// Calls `f` with each hole of the page's list, and with a full page as one.
    pub(crate) fn each_piece(&self, page: usize, mut f: impl FnMut(Hole)) {
        let word = self.table.word(page);
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
        let continues = self.table.word(page - 1).ends_free();
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
            largest = largest.max(if hole.at == 0 && self.table.word(page - 1).ends_free() { 0 } else { hole.size });
        });
        let starts = !word.is_full() || !self.table.word(page - 1).ends_free();
        if starts {
            self.each_hole(page, |hole| most = most.max(hole.size));
        }
        require(
            word.bit() == Word::default().with_class(class(most)).bit(),
            "a page is in the class of the largest hole that starts in it",
            page,
        )?;
        if word.is_full() {
            let (first, end) = (page + 1 - run, !self.table.word(page + 1).is_full());
            let agree = word.run() == run && self.table.word(first).run() == run;
            return require(!end || agree, "both ends of a run know its length", page);
        }
        require(word.tail() == (last == UNITS), "a page knows whether its end is free", page)?;
        require(word.largest() == largest, "a page knows its largest hole", page)
    }

    /// Whether a block can be what its program says it is. Reports what is wrong.
    pub(crate) fn vet(&self, block: *mut u8, size: usize, align: usize) -> bool {
        match self.verdict(block, size, align) {
            Ok(()) => true,
            Err(fault) => {
                M::fault(fault, block.addr());
                false
            }
        }
    }

    fn verdict(&self, block: *mut u8, size: usize, align: usize) -> Result<(), Fault> {
        let (at, start) = (self.unit(block), self.address(UNITS).addr());
        if block.addr() < start || at >= self.end || size > self.end - at {
            return Err(Fault::Foreign);
        }
        let aligned = align < UNIT || block.addr().is_multiple_of(align);
        if !aligned || !(block.addr() - start).is_multiple_of(UNIT) {
            return Err(Fault::Misaligned);
        }
        let table = self.unit(self.table.parts().0);
        if at < table + units(Table::bytes(self.table.parts().1)) && table < at + size {
            return Err(Fault::Foreign);
        }
        let mut place = at;
        while place < at + size {
            let (page, offset) = (place / UNITS, place % UNITS);
            let (word, part) = (self.table.word(page), (at + size - place).min(UNITS - offset));
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
        let word = self.table.word(page);
        // SAFETY: a page of the heap.
        let sound = word.is_full() || unsafe { self.list(page).is_sound(word.first()) };
        if !sound {
            M::fault(Fault::Corrupted, self.address(page * UNITS).addr());
        }
        sound
    }
}

fn require(holds: bool, invariant: &'static str, page: usize) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { invariant, page }) }
}
