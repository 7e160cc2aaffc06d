//! The invariants (theory 4), walked; and what a checked heap verifies before it believes its program.

use crate::book::Book;
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use crate::stats::Stats;
use kmem_base::fault::Fault;

/// Which invariant is broken, and at which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// What does not hold.
    pub invariant: &'static str,
    /// The page, counted from 1; 0 for the heap as a whole.
    pub page: usize,
}

impl<G: Ground, M: Mode, B: Book> Heap<G, M, B> {
    /// Walks every invariant. Time in proportion to the heap.
    ///
    /// # Errors
    /// The first one broken: a mistake of the program, which wrote where it should not have, or of this crate.
    pub fn check(&self) -> Result<(), Broken> {
        B::check(self)?;
        let mut stats = Stats::default();
        B::tally(self, &mut stats);
        let all = (self.end - B::UNITS) * B::UNIT;
        require(self.used() + stats.free + self.table() <= all, "what is in use, free, and the table are no more than there is", 0)
    }

    /// Pages that the heap extends over.
    pub(crate) fn pages(&self) -> usize {
        self.end.div_ceil(B::UNITS) - 1
    }

    /// Bytes of the book's table.
    pub(crate) fn table(&self) -> usize {
        let places = self.book.parts().1;
        if places == 0 { 0 } else { B::bytes(places) }
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
        let (at, start) = (self.unit(block), self.address(B::UNITS).addr());
        if block.addr() < start || at >= self.end || size > self.end - at {
            return Err(Fault::Foreign);
        }
        let aligned = align < B::UNIT || block.addr().is_multiple_of(align);
        if !aligned || !(block.addr() - start).is_multiple_of(B::UNIT) {
            return Err(Fault::Misaligned);
        }
        let table = self.unit(self.book.parts().0);
        if at < table + Self::units(self.table()) && table < at + size {
            return Err(Fault::Foreign);
        }
        B::vet(self, at, size)
    }
}

pub(crate) fn require(holds: bool, invariant: &'static str, page: usize) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { invariant, page }) }
}
