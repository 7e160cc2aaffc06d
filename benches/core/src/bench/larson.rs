//! larson: a server whose threads are born, work, and die, each leaving its live blocks to its successor.
//!
//! After Larson and Krishnan's server simulation, with a fixed amount of work instead of a fixed time. Most blocks are
//! freed by another thread than the one that allocated them, and often by one that started after that had ended.

use std::thread;

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale, count};
use crate::Result;
use crate::block::Block;
use crate::crew::{Job, Kind, STACK, fail, race};
use crate::params::Params;
use crate::rng::Rng;

/// The benchmark.
pub(crate) struct Larson;

const MIN_SIZE: usize = 8;
const MAX_SIZE: usize = 1_000;

/// What passes from one thread of a lineage to the next.
struct Estate {
    rng: Rng,
    slots: Vec<Block>,
}

impl Bench for Larson {
    fn name(&self) -> &'static str {
        "larson"
    }

    fn about(&self) -> &'static str {
        "server simulation: threads replace random blocks, die and leave them to a successor"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let row = |&(threads, generations): &(usize, usize)| {
            Row::new(count(threads, "thread"))
                .with("threads", threads)
                .with("generations", scale.pick(2, generations / 5, generations))
                .with("slots", scale.pick(50, 5_000, 5_000))
                .with("ops", scale.pick(200, 50_000, 50_000))
        };
        Ok([(1, 200), (2, 100), (16, 25)].iter().map(row).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let (slots, ops): (usize, usize) = (params.get("slots")?, params.get("ops")?);
        let generations: usize = params.get("generations")?;
        let job = |lineage| -> Job<'_> {
            Box::new(move |line| {
                let mut estate = found(lineage, slots);
                line.wait();
                for _ in 0..generations {
                    estate = live_and_die(estate, ops);
                }
            })
        };
        Ok(race(Kind::Threads, (0..params.get("threads")?).map(job).collect())?.into())
    }
}

fn found(lineage: usize, slots: usize) -> Estate {
    let mut rng = Rng::new(lineage);
    let slots = (0..slots).map(|_| Block::new(rng.between(MIN_SIZE, MAX_SIZE))).collect();
    Estate { rng, slots }
}

/// One generation: a new thread works on the inherited blocks; the caller only waits for its end.
fn live_and_die(mut estate: Estate, ops: usize) -> Estate {
    let life = thread::Builder::new().stack_size(STACK).spawn(move || {
        for _ in 0..ops {
            let slot = estate.rng.below(estate.slots.len());
            estate.slots[slot] = Block::new(estate.rng.between(MIN_SIZE, MAX_SIZE));
        }
        estate
    });
    let life = life.unwrap_or_else(|error| fail(&format!("cannot start a thread: {error}")));
    life.join().unwrap_or_else(|_| fail("a generation panicked"))
}
