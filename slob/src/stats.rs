//! Where a heap's memory is.

use crate::book::Book;
use crate::config::PAGE;
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;

/// A heap at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Bytes with the program, rounded up to units.
    pub used: usize,
    /// Bytes free, in holes of any size.
    pub free: usize,
    /// Bytes of the largest hole.
    pub largest_hole: usize,
    /// Bytes of the table.
    pub table: usize,
    /// Pages that the heap extends over.
    pub pages: usize,
    /// Those of them in which nothing is: where the ground takes pages back, it has them.
    pub empty_pages: usize,
}

impl Stats {
    /// Bytes of the pages in which something is.
    #[must_use]
    pub const fn mapped(&self) -> usize {
        (self.pages - self.empty_pages) * PAGE
    }
}

impl<G: Ground, M: Mode, B: Book> Heap<G, M, B> {
    /// Where the memory is. Walks the heap.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { used: self.used(), table: self.table(), pages: self.pages(), ..Stats::default() };
        B::tally(self, &mut stats);
        stats
    }

    /// Bytes with the program.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used * B::UNIT
    }
}
