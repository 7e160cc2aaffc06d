//! churn: a set of live blocks in which random ones are replaced by new ones of random size.
//!
//! The steady state of a program with caches, trees and queues; the set is filled before the clock starts.

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale};
use crate::Result;
use crate::block::Block;
use crate::crew::{Job, Kind, race};
use crate::params::Params;
use crate::rng::Rng;

/// The benchmark.
pub(crate) struct Churn;

/// Name, threads, live blocks per thread, largest size, replacements per thread in quick and in full.
const ROWS: &[(&str, usize, usize, usize, usize, usize)] = &[
    ("1 k live, < 256 B", 1, 1_000, 255, 4_000_000, 20_000_000),
    ("10 k live, < 8 KiB", 1, 10_000, 8_191, 1_000_000, 5_000_000),
    ("100 k live, < 512 B", 1, 100_000, 511, 1_500_000, 8_000_000),
    ("2 threads x 10 k live, < 512 B", 2, 10_000, 511, 1_500_000, 8_000_000),
    ("16 threads x 2 k live, < 512 B", 16, 2_000, 511, 300_000, 1_500_000),
];

/// The smallest block.
const MIN_SIZE: usize = 8;

impl Bench for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn about(&self) -> &'static str {
        "random replacement in a set of live blocks"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let row = |&(name, threads, live, max, quick, full): &(&str, usize, usize, usize, usize, usize)| {
            Row::new(name)
                .with("threads", threads)
                .with("live", scale.pick(live / 100, live, live))
                .with("max", max)
                .with("ops", scale.pick(1_000, quick, full))
        };
        Ok(ROWS.iter().map(row).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let (live, max, ops) = (params.get("live")?, params.get("max")?, params.get("ops")?);
        let job = |thread| -> Job<'_> {
            Box::new(move |line| {
                let mut rng = Rng::new(thread);
                let mut set = fill(&mut rng, live, max);
                line.wait();
                replace(&mut rng, &mut set, max, ops);
            })
        };
        Ok(race(Kind::Threads, (0..params.get("threads")?).map(job).collect())?.into())
    }
}

fn fill(rng: &mut Rng, live: usize, max: usize) -> Vec<Block> {
    (0..live).map(|_| Block::new(rng.between(MIN_SIZE, max))).collect()
}

fn replace(rng: &mut Rng, set: &mut [Block], max: usize, ops: usize) {
    for _ in 0..ops {
        let slot = rng.below(set.len());
        set[slot] = Block::new(rng.between(MIN_SIZE, max));
    }
}
