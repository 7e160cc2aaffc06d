//! Random actions per second, in talc's proportions: of seven actions three allocate, three free, one resizes, around some hundred live
//! blocks. The slowest operations, one by one, in a heap of pages half full. And whether a heap grows that should not.

use std::time::{Duration, Instant};

use super::arena::{Block, Buffer};
use super::efficiency::layout;
use super::peers::Peer;
use crate::rng::Rng;

/// Below that many blocks, more are allocated.
const BLOCKS: usize = 300;
/// A block is resized to at most this many times the largest fresh one.
const GROWTH: usize = 3;

/// Actions per second, with blocks of less than `max` bytes, over about `time`.
pub(super) fn actions(peer: &Peer, buffer: &mut Buffer, max: usize, time: Duration) -> f64 {
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
