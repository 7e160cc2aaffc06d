//! Where a heap's memory is.

use crate::config::{PAGE, UNIT};
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use crate::table::Table;

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

impl<G: Ground, M: Mode> Heap<G, M> {
    /// Where the memory is. Walks the heap.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let places = self.table.parts().1;
        let mut stats = Stats {
            used: self.used * UNIT,
            table: if places == 0 { 0 } else { Table::bytes(places) },
            pages: self.pages(),
            ..Stats::default()
        };
        for page in 1..=stats.pages {
            let word = self.table.word(page);
            stats.empty_pages += usize::from(word.is_full());
            self.each_piece(page, |piece| stats.free += piece.size * UNIT);
            if word.bit() != 0 {
                self.each_hole(page, |hole| stats.largest_hole = stats.largest_hole.max(hole.size * UNIT));
            }
        }
        stats
    }

    /// Bytes with the program.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used * UNIT
    }
}
