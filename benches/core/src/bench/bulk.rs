//! bulk: many blocks are allocated, then many are freed, round by round: no cache of free blocks holds such a swing.
//!
//! Three shapes. `ladder` after MicroQuill's SmartHeap benchmark sh6bench: small blocks oftener than large ones, freed in
//! varied orders while a part of them stays for another round. `ring` after sh8bench: rounds of small objects, a part of
//! which the neighbour frees. `plain`: equal blocks, all allocated, then all freed.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale, count};
use crate::block::Block;
use crate::crew::{Job, Kind, fail, race};
use crate::params::Params;
use crate::rng::Rng;
use crate::{Result, sizes};

/// The benchmark.
pub(crate) struct Bulk;

/// Shape, threads, objects per round and thread, rounds.
const ROWS: &[(&str, usize, usize, usize)] =
    &[("ladder", 1, 20_000, 1_500), ("ladder", 4, 20_000, 400), ("ring", 4, 40_000, 60), ("plain", 1, 20_000, 1_500)];

/// Sizes drawn before the clock starts; a round takes them one after the other.
const SIZES: usize = 4_099;
/// Bytes of a block in `plain`.
const PLAIN: usize = 64;
/// Objects in `ring`, in bytes.
const RING: (usize, usize) = (8, 100);
/// One object in so many is handed to the neighbour in `ring`.
const HANDED: usize = 4;

impl Bench for Bulk {
    fn name(&self) -> &'static str {
        "bulk"
    }

    fn about(&self) -> &'static str {
        "tens of thousands of small objects allocated, then freed, per round (sh6bench, sh8bench)"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let row = |&(shape, threads, objects, rounds): &(&str, usize, usize, usize)| {
            let what = match shape {
                "ladder" => "1-1000 B in varied orders",
                "ring" => "8-100 B, a quarter freed by another thread",
                _ => "20 k x 64 B",
            };
            Row::new(format!("{what}, {}", count(threads, "thread")))
                .with("shape", shape)
                .with("threads", threads)
                .with("objects", scale.pick(objects / 100, objects, objects))
                .with("rounds", scale.pick(6, rounds / 4, rounds))
        };
        Ok(ROWS.iter().map(row).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let shape: String = params.get("shape")?;
        let (threads, objects, rounds) = (params.get("threads")?, params.get("objects")?, params.get("rounds")?);
        let jobs = match shape.as_str() {
            "ladder" => (0..threads).map(|thread| ladder(thread, objects, rounds)).collect(),
            "ring" => ring(threads, objects, rounds),
            "plain" => (0..threads).map(|_| plain(objects, rounds)).collect(),
            _ => return Err(format!("no shape '{shape}'").into()),
        };
        Ok(race(Kind::Threads, jobs)?.into())
    }
}

/// Each round frees four fifths of the slots, in an order of its own, and fills them again.
fn ladder(thread: usize, objects: usize, rounds: usize) -> Job<'static> {
    Box::new(move |line| {
        let ladder = ladder_sizes();
        let mut next = ladder.iter().cycle().skip(thread).map(|&size| Block::new(size as usize));
        let mut slots: Vec<Option<Block>> = (0..objects).map(|_| None).collect();
        let stay = objects / 5;
        line.wait();
        for round in 0..rounds {
            let start = round % 5 * stay;
            free(&mut slots, start, start + stay, round);
            for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
                *slot = next.next();
            }
        }
    })
}

/// Below the slots that stay in the order of allocation, above them backwards; every third round with a stride.
fn free(slots: &mut [Option<Block>], start: usize, end: usize, round: usize) {
    const STRIDE: usize = 7;
    let (below, rest) = slots.split_at_mut(start);
    let above = &mut rest[end - start..];
    if round % 3 == 2 {
        for first in 0..STRIDE {
            below.iter_mut().skip(first).step_by(STRIDE).for_each(|slot| *slot = None);
            above.iter_mut().skip(first).step_by(STRIDE).for_each(|slot| *slot = None);
        }
    } else {
        below.iter_mut().for_each(|slot| *slot = None);
        above.iter_mut().rev().for_each(|slot| *slot = None);
    }
}

/// From 1000 bytes down to 1, by a third each time, each size followed by its halves, the small ones many times over.
fn ladder_sizes() -> Vec<u32> {
    let bases = std::iter::successors(Some(1_000_u32), |base| (*base > 1).then(|| base * 2 / 3));
    let halves = |base| std::iter::successors(Some(base), |size| (*size > 1).then(|| size / 2));
    let repeated = |size| std::iter::repeat_n(size, if size < 100 { 25 } else { 5 });
    bases.flat_map(halves).flat_map(repeated).collect()
}

/// Threads in a ring. Each round a thread allocates, hands a part to its neighbour, frees the rest and what it got.
fn ring(threads: usize, objects: usize, rounds: usize) -> Vec<Job<'static>> {
    // A thread is never further ahead of another than the ring is long, so no queue is ever full.
    let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| sync_channel(threads)).unzip();
    receivers.rotate_right(1);
    let ends = senders.into_iter().zip(receivers);
    ends.enumerate().map(|(thread, (next, own))| ring_member(thread, objects, rounds, next, own)).collect()
}

fn ring_member(thread: usize, objects: usize, rounds: usize, next: SyncSender<Batch>, own: Receiver<Batch>) -> Job<'static> {
    Box::new(move |line| {
        let sizes = sizes::uniform(&mut Rng::new(thread), RING, SIZES);
        let mut next_block = sizes.iter().cycle().map(|&size| Block::new(size as usize));
        let mut kept = Vec::with_capacity(objects);
        let mut handed = Vec::with_capacity(objects / HANDED + 1);
        line.wait();
        for round in 0..rounds {
            for object in 0..objects {
                let batch = if object % HANDED == 0 { &mut handed } else { &mut kept };
                batch.extend(next_block.next());
            }
            next.send(handed).unwrap_or_else(|_| fail("the neighbour is gone"));
            if round % 2 == 0 {
                kept.clear()
            } else {
                while kept.pop().is_some() {}
            }
            // The vector goes round with what is in it.
            handed = own.recv().unwrap_or_else(|_| fail("the neighbour is gone"));
            handed.clear();
        }
    })
}

type Batch = Vec<Block>;

fn plain(objects: usize, rounds: usize) -> Job<'static> {
    Box::new(move |line| {
        let mut blocks = Vec::with_capacity(objects);
        line.wait();
        for _ in 0..rounds {
            blocks.extend((0..objects).map(|_| Block::new(PLAIN)));
            blocks.clear();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_leans_on_small_sizes() {
        let sizes = ladder_sizes();
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&1), Some(&1_000)));
        assert!(sizes.iter().filter(|size| **size < 100).count() * 4 > sizes.len() * 3);
    }

    #[test]
    fn a_round_keeps_one_part_and_frees_all_else() {
        for round in 0..3 {
            let mut slots: Vec<_> = (0..50).map(|_| Some(Block::new(8))).collect();
            free(&mut slots, 10, 20, round);
            let live: Vec<_> = (0..50).filter(|&slot| slots[slot].is_some()).collect();
            assert_eq!(live, (10..20).collect::<Vec<_>>());
        }
    }
}
