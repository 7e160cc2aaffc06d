//! large: random replacement among twenty blocks of 5 to 25 MB.
//!
//! In the sense of mimalloc-bench's `malloc-large`: what a program does that reads whole files or images. The time is that of the page
//! faults, and so of what an allocator does with a freed block: give it back at once, or keep it a while.

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale};
use crate::block::Block;
use crate::crew::{Job, Kind, race};
use crate::params::Params;
use crate::rng::Rng;
use crate::{Result, sizes};

/// The benchmark.
pub(crate) struct Large;

/// Live blocks.
const LIVE: usize = 20;
/// Smallest and largest block.
const RANGE: (usize, usize) = (5 << 20, 25 << 20);

/// Name, bytes of a block in which each page is written, replacements.
const ROWS: &[(&str, usize, usize)] =
    &[("5-25 MB, every page written", usize::MAX, 1_000), ("5-25 MB, 64 KiB written", 64 << 10, 20_000)];

impl Bench for Large {
    fn name(&self) -> &'static str {
        "large"
    }

    fn about(&self) -> &'static str {
        "random replacement among blocks of 5 to 25 MB"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let row = |&(name, written, ops): &(&str, usize, usize)| {
            Row::new(name).with("written", written).with("ops", scale.pick(5, ops / 4, ops))
        };
        Ok(ROWS.iter().map(row).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let (written, ops) = (params.get("written")?, params.get("ops")?);
        let job: Job<'_> = Box::new(move |line| {
            let mut rng = Rng::new(0);
            let sizes = sizes::uniform(&mut rng, RANGE, ops);
            let mut set: Vec<Option<Block>> = (0..LIVE).map(|_| None).collect();
            line.wait();
            for size in sizes {
                let mut block = Block::new(size as usize);
                block.touch(written);
                set[rng.below(LIVE)] = Some(block);
            }
        });
        Ok(race(Kind::Threads, vec![job])?.into())
    }
}
