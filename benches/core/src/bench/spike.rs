//! spike: a load that comes and goes. How fast, and what is kept of its memory?
//!
//! The process grows by some hundred MiB of blocks as servers have them, frees nine tenths of them, at random or the
//! oldest first, and goes on lightly for two seconds. The time is that of growing and freeing; the memory that ranks is what is
//! resident at the end, beside the bytes that are still live.

use std::time::{Duration, Instant};

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale, Settled};
use crate::block::Block;
use crate::block_list::BlockList;
use crate::params::Params;
use crate::rng::Rng;
use crate::settle::settled_rss;
use crate::{Result, sizes};

/// The benchmark.
pub(crate) struct Spike;

/// Smallest and largest block; how fast their numbers fall with their size. Four in a hundred are above 1 KiB.
const RANGE: (usize, usize) = (16, 65_535);
const SLOPE: f64 = 0.8;
/// Sizes drawn before the clock starts, and used over and over.
const SIZES: usize = 1 << 16;
/// One block in so many stays.
const STAYS: usize = 10;
/// Blocks that come and go while the process settles, each time.
const LIGHT: usize = 64;

impl Bench for Spike {
    fn name(&self) -> &'static str {
        "spike"
    }

    fn about(&self) -> &'static str {
        "grows, frees nine tenths, goes on lightly for two seconds: what stays resident?"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let (mib, settle) = scale.pick((1, 20), (256, 2_000), (1_024, 2_000));
        let row = |(order, what)| {
            Row::new(format!("{mib} MiB, 90 % freed {what}")).with("order", order).with("mib", mib).with("settle_ms", settle)
        };
        Ok([("random", "at random"), ("age", "by age")].map(row).into())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let order: String = params.get("order")?;
        let by_age = match order.as_str() {
            "age" => true,
            "random" => false,
            _ => return Err(format!("no order '{order}'").into()),
        };
        let bytes = params.get::<usize>("mib")? << 20;
        let settle = Duration::from_millis(params.get("settle_ms")?);
        let sizes = sizes::power_law(&mut Rng::new(0), RANGE, SLOPE, SIZES);
        let mut sizes = sizes.iter().cycle().map(|&size| size as usize);
        let mut list = BlockList::with_room_for(bytes / RANGE.0 + 1)?;

        let clock = Instant::now();
        let grown = grow(&mut list, bytes, &mut sizes);
        let freed = if by_age { free_oldest(&mut list) } else { free_random(&mut list) };
        let time = clock.elapsed();

        // What stays is never freed, and the list that knows it is no part of what is measured.
        drop(list);
        let rss = settled_rss(settle, || drop(sizes.by_ref().take(LIGHT).map(Block::new).collect::<Vec<_>>()));
        Ok(Outcome { time, settled: Some(Settled { rss, live: Some((grown - freed) as u64) }) })
    }
}

/// Allocates and writes blocks until they have `bytes`, and returns how many bytes they have.
fn grow(list: &mut BlockList, bytes: usize, sizes: &mut impl Iterator<Item = usize>) -> usize {
    let mut grown = 0;
    while grown < bytes {
        let Some(size) = sizes.next() else { break };
        let mut block = Block::new(size);
        block.fill(1);
        list.push(block);
        grown += size;
    }
    grown
}

/// Frees in random order and returns how many bytes.
fn free_random(list: &mut BlockList) -> usize {
    let mut rng = Rng::new(1);
    let (mut freed, stay) = (0, list.len() / STAYS);
    while list.len() > stay {
        freed += list.take(rng.below(list.len())).size();
    }
    freed
}

/// Frees in the order of allocation and returns how many bytes.
fn free_oldest(list: &mut BlockList) -> usize {
    let count = list.len() - list.len() / STAYS;
    let mut freed = 0;
    list.take_front(count, |block| freed += block.size());
    freed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_stays_and_the_bytes_add_up() {
        for free in [free_random, free_oldest] {
            let mut list = BlockList::with_room_for(1_000).unwrap();
            let grown = grow(&mut list, 100_000, &mut (1..).map(|n| n % 500 + 1));
            let blocks = list.len();
            let freed = free(&mut list);
            assert_eq!(list.len(), blocks / STAYS);
            let mut rest = 0;
            list.take_front(list.len(), |block| rest += block.size());
            assert_eq!(freed + rest, grown);
        }
    }
}
