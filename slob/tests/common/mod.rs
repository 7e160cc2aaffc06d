//! A heap in a buffer beside a model of it: a byte for each byte of the buffer, that says whose it is.
#![allow(dead_code, unreachable_pub)]

use kmem_base::fault::Fault;
use kmem_slob::{Book, Fixed, Heap, Mode, Stats};
use kmem_testkit::SplitMix64;
use std::alloc::Layout;
use std::cell::RefCell;

/// Each of these is a test with either book.
#[macro_export]
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod lists {
            $(#[test] fn $name() { super::$name::<kmem_slob::Lists>() })*
        }
        mod marks {
            $(#[test] fn $name() { super::$name::<kmem_slob::Marks>() })*
        }
    };
}

/// Bytes of the smallest table, that of a page.
fn least<B: Book>() -> usize {
    B::bytes(B::places(1))
}

/// Verifies everything; faults are kept for the test to see.
#[derive(Debug)]
pub struct Strict;

thread_local! {
    static FAULTS: RefCell<Vec<(Fault, usize)>> = const { RefCell::new(Vec::new()) };
}

impl Mode for Strict {
    const CHECKED: bool = true;
    fn fault(fault: Fault, address: usize) {
        FAULTS.with_borrow_mut(|faults| faults.push((fault, address)));
    }
}

/// The faults since the last call.
pub fn faults() -> Vec<(Fault, usize)> {
    FAULTS.take()
}

/// A live block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub at: *mut u8,
    pub layout: Layout,
    pub seed: u8,
}

impl Block {
    fn fill(&self) {
        // SAFETY: a live block.
        unsafe { self.at.write_bytes(self.seed, self.layout.size()) };
    }

    fn verify(&self, len: usize) {
        // SAFETY: a live block, filled.
        let bytes = unsafe { std::slice::from_raw_parts(self.at, len) };
        // Slices are compared fast in a build without optimisation, too.
        assert!(bytes == vec![self.seed; len], "{self:?} was overwritten");
    }
}

/// A heap, its model, and its blocks.
pub struct Tested<B: Book> {
    pub heap: Heap<Fixed, Strict, B>,
    start: usize,
    /// 1 where a block is. What is neither a block's nor a hole's is the table's, or too short for a unit.
    model: Vec<u8>,
    pub blocks: Vec<Block>,
    next_seed: u8,
    _memory: Box<[u8]>,
}

impl<B: Book> Tested<B> {
    /// A heap in `len` bytes that start `skew` bytes behind a page's beginning.
    pub fn new(len: usize, skew: usize) -> Self {
        let mut memory = vec![0xAA_u8; len + skew + 4096].into_boxed_slice();
        let start = memory.as_mut_ptr();
        let start = start.wrapping_add(start.align_offset(4096) + skew);
        // SAFETY: the box stays as long as the heap.
        let heap = Heap::new(unsafe { Fixed::from_raw(start, len) });
        let model = vec![0; len];
        Self { heap, start: start.addr(), model, blocks: Vec::new(), next_seed: 1, _memory: memory }
    }

    fn mark(&mut self, at: *mut u8, len: usize, used: bool) {
        let from = at.addr().checked_sub(self.start).expect("within the buffer");
        let bytes = &mut self.model[from..from + len];
        assert!(*bytes == vec![u8::from(!used); len], "a byte is given twice, or taken twice");
        bytes.fill(u8::from(used));
    }

    /// True if nobody's bytes could hold the layout, the table's counted as somebody's. Only that many bytes in a row, aligned; so a
    /// refusal is right for sure, and a lack is one for sure where there is no table in between.
    fn has_room(&self, layout: Layout) -> bool {
        let size = layout.size().next_multiple_of(B::UNIT);
        // A buffer that is too small for it has none.
        let table = self.heap.stats().table.max(least::<B>()).next_multiple_of(16) + 16;
        let mut run = 0;
        for (place, used) in self.model.iter().enumerate() {
            run = if *used == 1 { 0 } else { run + 1 };
            let skew = (self.start + place + 1 - run).wrapping_neg() % layout.align().max(B::UNIT);
            // The table lies at the beginning.
            let free = if place < run + table { run.saturating_sub(table + layout.align()) } else { run.saturating_sub(skew) };
            if free >= size {
                return true;
            }
        }
        false
    }

    pub fn alloc(&mut self, layout: Layout) -> Option<usize> {
        let at = self.heap.alloc(layout);
        if at.is_null() {
            assert!(!self.has_room(layout), "refused {layout:?} without need: {:?}", self.heap.stats());
            return None;
        }
        assert!(at.addr().is_multiple_of(layout.align()), "{layout:?} at {at:?}");
        self.mark(at, layout.size(), true);
        self.next_seed = self.next_seed.wrapping_add(1);
        let block = Block { at, layout, seed: self.next_seed };
        block.fill();
        self.blocks.push(block);
        Some(self.blocks.len() - 1)
    }

    pub fn free(&mut self, index: usize) {
        let block = self.blocks.swap_remove(index);
        block.verify(block.layout.size());
        self.mark(block.at, block.layout.size(), false);
        // SAFETY: live, of this layout, and forgotten here.
        unsafe { self.heap.dealloc(block.at, block.layout) };
    }

    /// False if it was refused.
    pub fn resize(&mut self, index: usize, size: usize) -> bool {
        let old = self.blocks[index];
        old.verify(old.layout.size());
        // SAFETY: live, of this layout.
        let at = unsafe { self.heap.realloc(old.at, old.layout, size) };
        let layout = Layout::from_size_align(size, old.layout.align()).unwrap();
        if at.is_null() {
            old.verify(old.layout.size());
            assert!(size > old.layout.size(), "smaller, and refused");
            assert!(!self.has_room(layout), "refused {layout:?} without need");
            return false;
        }
        assert!(at.addr().is_multiple_of(layout.align()));
        let new = Block { at, layout, ..old };
        new.verify(size.min(old.layout.size()));
        self.mark(old.at, old.layout.size(), false);
        self.mark(at, size, true);
        new.fill();
        self.blocks[index] = new;
        true
    }

    /// Walks invariants and contents.
    pub fn check(&self) {
        assert_eq!(self.heap.check(), Ok(()));
        assert_eq!(faults(), []);
        self.blocks.iter().for_each(|block| block.verify(block.layout.size()));
        let stats = self.heap.stats();
        let used: usize = self.blocks.iter().map(|block| block.layout.size().next_multiple_of(B::UNIT)).sum();
        assert_eq!(stats.used, used);
        if stats.pages > 0 {
            let all = stats.used + stats.free + stats.table;
            let lost = self.model.len().checked_sub(all).expect("no more than there is");
            // Less than a unit at either end, and behind the table.
            assert!(lost < if B::UNIT > 8 { 3 * B::UNIT } else { 16 }, "{lost} bytes are nobody's: {stats:?}");
        }
    }

    /// Frees everything: one hole is left.
    pub fn finish(mut self) -> Stats {
        while !self.blocks.is_empty() {
            self.free(self.blocks.len() / 2);
        }
        self.check();
        let stats = self.heap.stats();
        assert_eq!((stats.used, stats.largest_hole), (0, stats.free), "all of it is one hole");
        stats
    }
}

/// A layout of up to `most` bytes, small ones more often, aligned to up to `align`.
pub fn layout(rng: &mut SplitMix64, most: usize, align: u32) -> Layout {
    let cap = rng.between(1, most);
    let shift = rng.below(align as usize + 1);
    Layout::from_size_align(rng.between(1, cap), 1 << shift).unwrap()
}
