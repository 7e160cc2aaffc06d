//! A slob heap in a buffer: allocating, freeing and resizing, beside a map of who has which bytes.

use crate::decode::trace;
use arbitrary::{Arbitrary, Result, Unstructured};
use kmem_base::fault::Fault;
use kmem_slob::{Book, Fixed, Heap, Lists, Marks, Mode};
use std::alloc::Layout;
use std::collections::BTreeMap;

/// Bytes of the largest buffer: few pages, so that everything meets everything.
const LEN: usize = 12 * 4096;
const SLOTS: usize = 32;

/// Every fault is the heap's.
struct Strict;

impl Mode for Strict {
    const CHECKED: bool = true;
    fn fault(fault: Fault, address: usize) {
        panic!("{fault:?} at {address:x}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc { slot: usize, size: usize, align: usize },
    Free { slot: usize },
    Resize { slot: usize, size: usize },
    Check,
}

/// A size, near a border as often as not.
fn size(u: &mut Unstructured<'_>) -> Result<usize> {
    let (kind, low) = (u.arbitrary::<u8>()?, usize::from(u.arbitrary::<u8>()?));
    Ok(match kind % 4 {
        0 => 1 + low,
        1 => [256, 1024, 4096, 8192][low % 4] + low / 4 % 5 - 2,
        2 => 1 + low * 16,
        _ => 1 + low * 100,
    })
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kind = u.arbitrary::<u8>()?;
        let slot = usize::from(kind / 8) % SLOTS;
        Ok(match kind % 8 {
            0..=3 => Op::Alloc { slot, size: size(u)?, align: 1 << (u.arbitrary::<u8>()? % 13) },
            4 | 5 => Op::Free { slot },
            6 => Op::Resize { slot, size: size(u)? },
            _ => Op::Check,
        })
    }
}

#[derive(Clone, Copy)]
struct Block {
    at: *mut u8,
    layout: Layout,
    stamp: u8,
}

impl Block {
    fn fill(&self) {
        // SAFETY: a live block.
        unsafe { self.at.write_bytes(self.stamp, self.layout.size()) };
    }

    fn verify(&self, len: usize) {
        // SAFETY: a live block, filled.
        let bytes = unsafe { std::slice::from_raw_parts(self.at, len) };
        assert!(bytes.iter().all(|byte| *byte == self.stamp), "overwritten");
    }
}

struct World<B: Book> {
    heap: Heap<Fixed, Strict, B>,
    blocks: [Option<Block>; SLOTS],
    taken: BTreeMap<usize, usize>,
    stamp: u8,
}

impl<B: Book> World<B> {
    fn take(&mut self, block: Block) {
        let (start, end) = (block.at.addr(), block.at.addr() + block.layout.size());
        assert!(start.is_multiple_of(block.layout.align()), "misaligned");
        let before = self.taken.range(..end).next_back();
        assert!(before.is_none_or(|(at, len)| at + len <= start), "given twice");
        self.taken.insert(start, block.layout.size());
    }

    fn free(&mut self, slot: usize) {
        let Some(block) = self.blocks[slot].take() else { return };
        block.verify(block.layout.size());
        self.taken.remove(&block.at.addr());
        // SAFETY: live, and forgotten here.
        unsafe { self.heap.dealloc(block.at, block.layout) };
    }

    fn step(&mut self, op: Op) {
        trace(&op);
        match op {
            Op::Alloc { slot, size, align } => {
                self.free(slot);
                let layout = Layout::from_size_align(size, align).expect("small");
                let at = self.heap.alloc(layout);
                if at.is_null() {
                    return;
                }
                self.stamp = self.stamp.wrapping_add(1);
                let block = Block { at, layout, stamp: self.stamp };
                self.take(block);
                block.fill();
                self.blocks[slot] = Some(block);
            }
            Op::Free { slot } => self.free(slot),
            Op::Resize { slot, size } => self.resize(slot, size),
            Op::Check => self.check(),
        }
    }

    fn resize(&mut self, slot: usize, size: usize) {
        let Some(old) = self.blocks[slot] else { return };
        // SAFETY: live, of this layout.
        let at = unsafe { self.heap.realloc(old.at, old.layout, size) };
        if at.is_null() {
            assert!(size > old.layout.size(), "smaller, and refused");
            return old.verify(old.layout.size());
        }
        let new = Block { at, layout: Layout::from_size_align(size, old.layout.align()).expect("small"), ..old };
        new.verify(size.min(old.layout.size()));
        self.taken.remove(&old.at.addr());
        self.take(new);
        new.fill();
        self.blocks[slot] = Some(new);
    }

    fn check(&self) {
        assert_eq!(self.heap.check(), Ok(()));
        self.blocks.iter().flatten().for_each(|block| block.verify(block.layout.size()));
    }
}

/// Carries out the operations that `data` stands for, on a heap with either book.
pub fn run(data: &[u8]) {
    run_with::<Lists>(data);
    run_with::<Marks>(data);
}

fn run_with<B: Book>(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut memory = vec![0xA5_u8; LEN + 8];
    let len = 100 + usize::from(u.arbitrary::<u16>().unwrap_or(u16::MAX)) % (LEN - 100);
    let skew = usize::from(u.arbitrary::<u8>().unwrap_or(0) % 8);
    // SAFETY: the vector outlives the heap.
    let heap = Heap::new(unsafe { Fixed::from_raw(memory.as_mut_ptr().wrapping_add(skew), len) });
    let mut world = World::<B> { heap, blocks: [None; SLOTS], taken: BTreeMap::new(), stamp: 0 };
    while !u.is_empty() {
        let Ok(op) = u.arbitrary() else { break };
        world.step(op);
    }
    world.check();
    (0..SLOTS).for_each(|slot| world.free(slot));
    world.check();
    let stats = world.heap.stats();
    assert_eq!((stats.used, stats.free), (0, stats.largest_hole), "all of it is one hole");
}
