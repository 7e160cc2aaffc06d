//! How much of a heap can be in use, by the method that talc publishes: blocks are allocated, freed and resized at random until the
//! first request that is refused; what is in use then, as a share of the heap, is the result. Ours follows its proportions: of ten
//! actions five allocate 4 bytes to 10 kB, small ones more often, one frees, four resize to anything below 100 kB.

use std::alloc::Layout;

use super::arena::{Block, Buffer};
use super::peers::{Heap, OURS, PEERS, Peer};
use super::{behind, percent};
use crate::bench::Scale;
use crate::rng::Rng;
use crate::slab::markdown::section;
use crate::slab::verdict;

const MAX_SIZE: usize = 10_000;
const MAX_RESIZED: usize = 10 * MAX_SIZE;

/// Bytes of the heaps, and how often each is filled.
const HEAPS: [(usize, usize); 4] = [(256 << 10, 200), (1 << 20, 100), (4 << 20, 40), (16 << 20, 20)];
/// Points of a hundred by which the best may be better.
const BEHIND: f64 = 0.005;

pub(super) fn report(scale: Scale) -> String {
    let heaps = &HEAPS[..scale.pick(1, 3, 4)];
    let mut buffer = Buffer::new(heaps.last().map_or(0, |heap| heap.0));
    let mut rows: Vec<_> = PEERS.iter().map(|peer| (vec![peer.name.to_owned()], Vec::new())).collect();
    for (len, rounds) in heaps {
        for (peer, (cells, shares)) in PEERS.iter().zip(&mut rows) {
            let share = measure(peer, &mut buffer, *len, scale.pick(2, *rounds / 4, *rounds));
            cells.push(percent(share));
            shares.push(share);
        }
    }
    let lag = |heap: usize| behind(rows[0].1[heap], rows[OURS..].iter().map(|row| row.1[heap]));
    let last = ["slob behind the best by".to_owned()].into_iter().chain((0..heaps.len()).map(|heap| percent(lag(heap)))).collect();
    let judged = ["target".to_owned()].into_iter().chain((0..heaps.len()).map(|heap| verdict(lag(heap) <= BEHIND))).collect();
    let lines: Vec<Vec<String>> = rows.iter().map(|row| row.0.clone()).chain([last, judged]).collect();
    let head: Vec<_> = heaps.iter().map(|(len, _)| format!("{} KiB", len >> 10)).collect();
    let head: Vec<_> = [""].into_iter().chain(head.iter().map(String::as_str)).collect();
    let about = "Percent of the heap in use when the first request is refused, by the method that talc publishes: random blocks are \
                 allocated (4 to 10000 bytes), freed and resized (to less than 100000). Means over heaps filled with the same sequences. \
                 Target: first, or within 0.5.";
    section("Heap efficiency", about, &head, &lines)
}

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
