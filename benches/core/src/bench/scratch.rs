//! scratch: passive false sharing, Emery Berger's `cache-scratch`.
//!
//! One thread allocates a small block for each worker, all likely in one cache line. A worker frees its block, and then
//! allocates a block, writes it many times and frees it, over and over. Where a worker gets the block again that
//! was given to it, it shares the line with the others for the whole run.

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale, count};
use crate::Result;
use crate::block::Block;
use crate::crew::{Job, Kind, race};
use crate::params::Params;

/// The benchmark.
pub(crate) struct Scratch;

/// Bytes of a block.
pub(super) const SIZE: usize = 8;

impl Bench for Scratch {
    fn name(&self) -> &'static str {
        "scratch"
    }

    fn about(&self) -> &'static str {
        "passive false sharing: blocks of one thread handed to others, freed and written there"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        Ok(rows(scale))
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let load = Load::read(params)?;
        // All of them before the first worker starts: neighbours, for most allocators.
        let blocks: Vec<_> = (0..load.threads).map(|_| Block::new(SIZE)).collect();
        let job = |block| -> Job<'_> {
            Box::new(move |line| {
                line.wait();
                drop(block);
                load.write();
            })
        };
        Ok(race(Kind::Threads, blocks.into_iter().map(job).collect())?.into())
    }
}

/// The rows of `scratch` and of `thrash`. The writes are divided among the threads: ideally two take half the time of one.
pub(super) fn rows(scale: Scale) -> Vec<Row> {
    let row = |threads| {
        Row::new(count(threads, "thread"))
            .with("threads", threads)
            .with("blocks", scale.pick(10, 1_000, 1_000))
            .with("writes", scale.pick(100, 20_000, 80_000))
    };
    [1, 2, 4].map(row).into()
}

/// What a worker does, in `scratch` and in `thrash`.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) threads: usize,
    /// Blocks per thread, one after the other.
    blocks: usize,
    /// How often a thread alone would write every byte of each.
    writes: usize,
}

impl Load {
    pub(super) fn read(params: &Params) -> Result<Self> {
        Ok(Self { threads: params.get("threads")?, blocks: params.get("blocks")?, writes: params.get("writes")? })
    }

    pub(super) fn write(self) {
        for _ in 0..self.blocks {
            Block::new(SIZE).exercise(self.writes / self.threads);
        }
    }
}
