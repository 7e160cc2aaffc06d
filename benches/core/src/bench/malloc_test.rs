//! malloc-test: balanced pairs of malloc and free, the measurement of the CITI report on malloc scalability.
//!
//! Every worker allocates a block, writes one byte and frees it at once, ten million times. Threads share one heap;
//! processes do not, so between the rows with two of each lies what sharing costs.

use std::hint::black_box;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{Bench, Outcome, Row, Scale, count};
use crate::Result;
use crate::block::Block;
use crate::crew::{Job, Kind, race};
use crate::params::Params;

/// The benchmark.
pub(crate) struct MallocTest;

#[derive(Args)]
struct Flags {
    /// Bytes per block
    #[arg(long, default_value_t = 512, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    size: u32,
}

impl Bench for MallocTest {
    fn name(&self) -> &'static str {
        "malloc-test"
    }

    fn about(&self) -> &'static str {
        "balanced malloc/free pairs, threads against processes (CITI report)"
    }

    fn options(&self, command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn rows(&self, flags: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let size = Flags::from_arg_matches(flags)?.size;
        let pairs = scale.pick(1_000, 2_000_000, 10_000_000);
        let threads: &[usize] = scale.pick(&[1, 2], &[1, 2, 4, 16], &[1, 2, 4, 16, 32]);
        let threads = threads.iter().map(|&n| (count(n, "thread"), n, Kind::Threads));
        let processes = [("2 processes".to_owned(), 2, Kind::Processes)];
        Ok(threads.chain(processes).map(|(name, workers, kind)| row(name, workers, kind, pairs, size)).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let (pairs, size): (usize, usize) = (params.get("pairs")?, params.get("size")?);
        let job = |_| -> Job<'_> {
            Box::new(move |line| {
                line.wait();
                malloc_free_pairs(pairs, size);
            })
        };
        Ok(race(params.get("kind")?, (0..params.get("workers")?).map(job).collect())?.into())
    }
}

/// `workers`, each with so many pairs of `size` bytes.
pub(crate) fn row(name: String, workers: usize, kind: Kind, pairs: usize, size: u32) -> Row {
    Row::new(name).with("workers", workers).with("kind", kind).with("pairs", pairs).with("size", size)
}

fn malloc_free_pairs(pairs: usize, size: usize) {
    for _ in 0..pairs {
        drop(Block::new(black_box(size)));
    }
}
