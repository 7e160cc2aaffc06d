//! The invariants of the marks (theory 4.2), walked; and what a checked heap verifies before it believes its program.

use super::{FIRST, Marks, SLOTS, UNIT, WORD};
use crate::book::{Book, Stretch};
use crate::check::{Broken, require};
use crate::class::class;
use crate::config::CLASSES;
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use crate::stats::Stats;
use kmem_base::fault::Fault;

impl<G: Ground, M: Mode> Heap<G, M, Marks> {
    /// Calls `f` with each hole, in the order of addresses; one of no units where a mark leads to nothing.
    fn each_hole(&self, mut f: impl FnMut(Stretch)) {
        let mut at = FIRST;
        while at < self.end {
            if self.book.is_clear(at) {
                at += WORD;
                continue;
            }
            let size = Marks::ahead(self, at);
            if self.book.is_marked(at) {
                f(Stretch { at, size });
            }
            at += size.max(1);
        }
    }

    pub(super) fn check_marks(&self) -> Result<(), Broken> {
        let (mut holes, mut result) = (0, Ok(()));
        self.each_hole(|hole| {
            holes += 1;
            if result.is_ok() {
                result = self.check_hole(hole);
            }
        });
        result?;
        for bin in 0..CLASSES {
            holes = self.check_bin(bin, holes)?;
        }
        require(holes == 0, "every hole is in a bin", 0)
    }

    fn check_hole(&self, hole: Stretch) -> Result<(), Broken> {
        let page = Self::page(hole.at);
        require(self.is_sound(hole.at), "a hole knows its size at both ends, and its neighbours in the bin know it", page)?;
        let mut inside = hole.at + 1..hole.at + hole.size - 1;
        let free = inside.all(|unit| self.book.is_marked(unit) == M::CHECKED);
        require(free, "a hole's ends are marked; in a checked heap, all of it", page)
    }

    /// The holes of a bin are of its class; returns how many are left of `holes`.
    fn check_bin(&self, bin: u32, mut holes: usize) -> Result<usize, Broken> {
        let mut at = if self.book.parts().1 > 0 { self.get(self.book.head(bin)) } else { 0 };
        require((at == 0) == (self.book.bins >> bin & 1 == 0), "a word knows which bins are empty", 0)?;
        while at != 0 {
            require(self.is_sound(at), "bins lead to holes", 0)?;
            require(class(self.hole(at).size) == bin, "a hole is in the bin of its size", Self::page(at))?;
            require(holes > 0, "a hole is in one bin, once", Self::page(at))?;
            (at, holes) = (self.hole(at).next, holes - 1);
        }
        Ok(holes)
    }

    pub(super) fn tally_holes(&self, stats: &mut Stats) {
        self.each_hole(|hole| {
            stats.free += hole.size * UNIT;
            stats.largest_hole = stats.largest_hole.max(hole.size * UNIT);
            stats.empty_pages += ((hole.at + hole.size) / FIRST).saturating_sub(hole.at.div_ceil(FIRST));
        });
    }

    /// Whether there is a hole at `at` that is what it says it is.
    fn is_sound(&self, at: usize) -> bool {
        if !self.has(at) {
            return false;
        }
        let (hole, marked) = (self.hole(at), |unit| self.book.is_marked(unit));
        if hole.size == 0 || hole.size > self.end - at || !self.has(hole.slot / SLOTS) {
            return false;
        }
        let end = at + hole.size;
        let ends =
            self.get(self.slot(end * SLOTS - 1)) == hole.size && marked(at) && marked(end - 1) && !marked(at - 1) && !marked(end);
        let next = hole.next == 0 || self.has(hole.next) && self.hole(hole.next).slot == at * SLOTS + 1;
        ends && next && self.get(self.slot(hole.slot)) == at
    }

    /// The same; reports it if not.
    pub(super) fn vet_hole(&self, at: usize) -> bool {
        let sound = self.is_sound(at);
        if !sound {
            M::fault(Fault::Corrupted, self.address(at).addr());
        }
        sound
    }

    /// Whether none of the `size` units at `at` is free, and the holes that a free of them touches are sound.
    pub(super) fn vet_block(&self, at: usize, size: usize) -> Result<(), Fault> {
        let mut unit = at;
        while unit < at + size {
            if self.book.is_marked(unit) {
                return Err(Fault::DoubleFree);
            }
            unit += if self.book.is_clear(unit) { WORD } else { 1 };
        }
        let (end, after, before) = (at + size, Marks::ahead(self, at + size), Marks::back(self, at));
        let behind = !self.book.is_marked(end) || self.is_sound(end);
        let sound = behind && (!self.book.is_marked(at - 1) || before > 0 && self.is_sound(at - before));
        let first = self.get(self.book.head(class(before + size + after)));
        if sound && (first == 0 || self.is_sound(first)) { Ok(()) } else { Err(Fault::Corrupted) }
    }
}
