//! Random actions per second, in talc's proportions: of seven actions three allocate, three free, one resizes, around some hundred live
//! blocks.

use std::time::{Duration, Instant};

use super::Run;
use super::arena::{Block, Buffer};
use super::efficiency::layout;
use super::peers::{MARKS, PEERS, Peer, SLAB, SLOB, SLUBQ, TALC};
use crate::bench::Scale;
use crate::rng::Rng;
use crate::slab::markdown::section;
use crate::slab::verdict;
use crate::stats;

/// Sizes below which fresh blocks are.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 30_000];
/// Shares of the others' speed that are asked for.
const OF_TALC: f64 = 0.5;
const OF_SLAB: f64 = 0.3;

pub(super) fn report(run: &Run<'_>) -> String {
    let mut buffer = Buffer::new(16 << 20);
    let all: Vec<&Peer> = PEERS.iter().chain([&SLAB, &SLUBQ]).collect();
    let time = Duration::from_millis(run.scale.pick(2, 50, 200));
    let turns = if run.scale == Scale::Tiny { 1 } else { run.runs.max(3) };
    // A turn is everybody once: medians over turns.
    let mut speeds = vec![vec![Vec::new(); SIZES.len()]; all.len()];
    for _ in 0..turns {
        for (column, size) in SIZES.iter().enumerate() {
            for (peer, row) in all.iter().zip(&mut speeds) {
                row[column].push(actions(peer, &mut buffer, *size, time) / 1e6);
            }
        }
    }
    let median = |row: usize, column: usize| stats::median(&speeds[row][column]).unwrap_or(f64::NAN);
    let line = |row: usize| {
        let cells = (0..SIZES.len()).map(|column| format!("{:.1}", median(row, column)));
        [all[row].name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let row_of = |name: &str| all.iter().position(|peer| peer.name == name).unwrap_or(0);
    let mut lines: Vec<_> = (0..all.len()).map(line).collect();
    for own in [SLOB, MARKS] {
        for (other, share) in [(TALC, OF_TALC), (SLAB.name, OF_SLAB)] {
            let ratio = |column| median(row_of(own), column) / median(row_of(other), column);
            let cells = (0..SIZES.len()).map(|column| format!("{:.2} {}", ratio(column), verdict(ratio(column) >= share)));
            lines.push([format!("{own} of {other} (at least {share})")].into_iter().chain(cells).collect());
        }
    }
    let head = SIZES.map(|size| format!("< {size} B"));
    let head: Vec<_> = [""].into_iter().chain(head.iter().map(String::as_str)).collect();
    let about = format!(
        "Millions of random actions per second on one thread: three allocations, three frees and a resize (to less than three times the size) \
         in seven, around {BLOCKS} live blocks in a heap of 16 MiB. Medians of {turns} turns. kmem over slab and slubq as they come, with their \
         queues and per-CPU state."
    );
    section("Speed", &about, &head, &lines)
}

/// Below that many blocks, more are allocated.
const BLOCKS: usize = 300;
/// A block is resized to at most this many times the largest fresh one.
const GROWTH: usize = 3;

/// Actions per second, with blocks of less than `max` bytes, over about `time`.
fn actions(peer: &Peer, buffer: &mut Buffer, max: usize, time: Duration) -> f64 {
    let len = buffer.len();
    let mut heap = buffer.heap(peer, len);
    let (mut rng, mut blocks, mut done) = (Rng::new(max), Vec::<Block>::with_capacity(1 << 16), 0_u64);
    let clock = Instant::now();
    while clock.elapsed() < time {
        for _ in 0..100 {
            let action = rng.below(7);
            let at = rng.below(blocks.len().max(1));
            if action == 6 {
                if let Some(block) = blocks.get_mut(at) {
                    done += u64::from(block.resize(&mut *heap, rng.between(1, max * GROWTH - 1)));
                }
            } else if action < 3 || blocks.len() < BLOCKS {
                let fresh = Block::new(&mut *heap, layout(&mut rng, max));
                done += u64::from(fresh.is_some());
                blocks.extend(fresh);
            } else {
                blocks.swap_remove(at).free(&mut *heap);
                done += 1;
            }
        }
    }
    done as f64 / clock.elapsed().as_secs_f64()
}
