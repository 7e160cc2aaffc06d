//! How much of a heap can be in use, by the method that talc publishes: blocks are allocated, freed and resized at random until the
//! first request that is refused; what is in use then, as a share of the heap, is the result. Ours follows its proportions: of ten
//! actions five allocate 4 bytes to 10 kB, small ones more often, one frees, four resize to anything below 100 kB.

use std::alloc::Layout;

use super::arena::{Block, Buffer};
use super::peers::{Heap, Peer};
use crate::rng::Rng;

const MAX_SIZE: usize = 10_000;
const MAX_RESIZED: usize = 10 * MAX_SIZE;

/// A size of 4 bytes to less than `max`, biased to small ones.
pub(super) fn size(rng: &mut Rng, max: usize) -> usize {
    let cap = rng.between(16, max - 1);
    rng.between(4, cap - 1)
}

/// An alignment: a word mostly, each doubling a quarter as often.
pub(super) fn align(rng: &mut Rng) -> usize {
    size_of::<usize>() << (((rng.next() as u16).trailing_zeros() / 2).min(7))
}

pub(super) fn layout(rng: &mut Rng, max: usize) -> Layout {
    Layout::from_size_align(size(rng, max), align(rng)).expect("a small layout")
}

/// The share of the first `len` bytes that is in use at the first refusal, over `rounds` heaps.
pub(super) fn measure(peer: &Peer, buffer: &mut Buffer, len: usize, rounds: usize) -> f64 {
    let mut sum = 0;
    for round in 0..rounds {
        let mut heap = buffer.heap(peer, len);
        sum += fill(&mut *heap, &mut Rng::new(round));
    }
    sum as f64 / (len * rounds) as f64
}

/// Bytes in use when the first request is refused.
fn fill(heap: &mut dyn Heap, rng: &mut Rng) -> usize {
    let mut blocks: Vec<Block> = Vec::new();
    loop {
        let served = match rng.below(10) {
            0..=4 => Block::new(heap, layout(rng, MAX_SIZE)).map(|block| blocks.push(block)).is_some(),
            _ if blocks.is_empty() => true,
            5 => {
                let at = rng.below(blocks.len());
                blocks.swap_remove(at).free(heap);
                true
            }
            _ => {
                let at = rng.below(blocks.len());
                blocks[at].resize(heap, rng.between(1, MAX_RESIZED - 1))
            }
        };
        if !served {
            return blocks.iter().map(|block| block.layout.size()).sum();
        }
    }
}
