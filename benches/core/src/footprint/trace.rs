//! A recorded program: what kmem-bench itself asked for while it made a page of results with charts (`examples/record.rs` recorded it).
//! Measured is the smallest heap in which it runs.

use std::alloc::Layout;

use super::arena::{Block, Buffer};
use super::peers::{Heap, OURS, PEERS, Peer};
use super::{behind, percent};
use crate::Result;
use crate::slab::markdown::section;
use crate::slab::verdict;

/// One number for each operation, of seven bits a byte, the lowest first: its two lowest bits say which. Blocks have the lowest number that
/// is free.
static RECORDED: &[u8] = include_bytes!("report.trace");

/// Points of a hundred by which the best may be better.
const BEHIND: f64 = 0.005;
/// Heaps are multiples of this.
const STEP: usize = 64;

#[derive(Clone, Copy)]
enum Op {
    Alloc(Layout),
    Free(usize),
    Resize(usize, usize),
}

fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes.next()?;
        value |= usize::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
        shift += 7;
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<Op>> {
    let (mut bytes, mut ops) = (bytes.iter().copied(), Vec::new());
    while let Some(code) = number(&mut bytes) {
        let rest = code >> 2;
        ops.push(match code & 3 {
            0 => Op::Alloc(Layout::from_size_align(rest >> 4, 1 << (rest & 15))?),
            1 => Op::Free(rest),
            _ => Op::Resize(rest, number(&mut bytes).ok_or("a trace that ends early")?),
        });
    }
    Ok(ops)
}

/// Carries the operations out; false if one is refused.
fn replay(ops: &[Op], heap: &mut dyn Heap) -> bool {
    let mut blocks: Vec<Option<Block>> = Vec::new();
    for op in ops {
        match *op {
            Op::Alloc(layout) => {
                let Some(block) = Block::new(heap, layout) else { return false };
                match blocks.iter_mut().find(|slot| slot.is_none()) {
                    Some(slot) => *slot = Some(block),
                    None => blocks.push(Some(block)),
                }
            }
            Op::Free(slot) => {
                let Some(block) = blocks[slot].take() else { return false };
                block.free(heap);
            }
            Op::Resize(slot, size) => {
                if !blocks[slot].as_mut().is_some_and(|block| block.resize(heap, size)) {
                    return false;
                }
            }
        }
    }
    true
}

/// The most bytes live at a time.
fn peak(ops: &[Op]) -> usize {
    let (mut sizes, mut live, mut peak) = (Vec::<usize>::new(), 0, 0);
    for op in ops {
        match *op {
            Op::Alloc(layout) => {
                live += layout.size();
                match sizes.iter_mut().find(|size| **size == 0) {
                    Some(size) => *size = layout.size(),
                    None => sizes.push(layout.size()),
                }
            }
            Op::Free(slot) => live -= std::mem::take(&mut sizes[slot]),
            Op::Resize(slot, size) => live = live + size - std::mem::replace(&mut sizes[slot], size),
        }
        peak = peak.max(live);
    }
    peak
}

/// The smallest heap, in bytes, that serves all of it; found by halving, so that it is one of which 64 bytes less refuse something.
fn smallest(peer: &Peer, ops: &[Op], buffer: &mut Buffer) -> usize {
    let (mut low, mut high) = (0, buffer.len() / STEP);
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        let mut heap = buffer.heap(peer, middle * STEP);
        if replay(ops, &mut *heap) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high * STEP
}

pub(super) fn report() -> Result<String> {
    let ops = decode(RECORDED)?;
    let peak = peak(&ops);
    let mut buffer = Buffer::new(peak.next_power_of_two() * 4);
    let shares: Vec<_> =
        PEERS.iter().map(|peer| smallest(peer, &ops, &mut buffer)).map(|len| (len, peak as f64 / len as f64)).collect();
    let lag = behind(shares[0].1, shares[OURS..].iter().map(|share| share.1));
    let lines = PEERS.iter().zip(&shares).enumerate().map(|(index, (peer, (len, share)))| {
        let judged = if index == 0 { verdict(lag <= BEHIND) } else { String::new() };
        vec![peer.name.to_owned(), len.to_string(), percent(*share), judged]
    });
    let lines: Vec<_> = lines.collect();
    let about = format!(
        "kmem-bench making its page of results: {} operations, at most {peak} bytes live. The smallest heap in which all of them are served. \
         Target: first, or within 0.5 %.",
        ops.len()
    );
    Ok(section("A recorded program", &about, &["", "heap, bytes", "in use at the peak, %", "target"], &lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_whole() {
        let ops = decode(RECORDED).unwrap();
        assert!(ops.len() > 1_000 && peak(&ops) > 10_000);
        let mut buffer = Buffer::new(peak(&ops) * 4);
        let len = buffer.len();
        assert!(replay(&ops, &mut *buffer.heap(&PEERS[0], len)));
        assert!(!replay(&ops, &mut *buffer.heap(&PEERS[0], peak(&ops))), "no heap is without a loss");
    }

    #[test]
    fn numbers_of_several_bytes() {
        let mut bytes = [0x80 | 0x05, 0x01, 0x7f].into_iter();
        assert_eq!((number(&mut bytes), number(&mut bytes), number(&mut bytes)), (Some(0x85), Some(0x7f), None));
    }
}
