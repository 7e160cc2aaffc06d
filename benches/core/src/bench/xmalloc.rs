//! xmalloc: one side allocates, the other frees.
//!
//! Producers allocate batches of blocks of mixed sizes and hand them through bounded queues to consumers that do
//! nothing but free them: the pattern that starves per-thread caches on one side and floods them on the other.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale};
use crate::Result;
use crate::block::Block;
use crate::crew::{Job, Kind, fail, race};
use crate::params::Params;
use crate::rng::Rng;

/// The benchmark.
pub(crate) struct Xmalloc;

/// Blocks handed over at once: the queue costs little beside them.
const BATCH: usize = 256;
/// Batches that a queue holds before its producers wait.
const QUEUE: usize = 16;

type Batch = Vec<Block>;

impl Bench for Xmalloc {
    fn name(&self) -> &'static str {
        "xmalloc"
    }

    fn about(&self) -> &'static str {
        "producers allocate, consumers free"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let row = |&(pairs, batches): &(usize, usize)| {
            let name = format!("{pairs} producer{0} + {pairs} consumer{0}", if pairs == 1 { "" } else { "s" });
            Row::new(name).with("pairs", pairs).with("batches", scale.pick(4, batches / 5, batches))
        };
        Ok([(1, 40_000), (4, 10_000)].iter().map(row).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let (pairs, batches): (usize, usize) = (params.get("pairs")?, params.get("batches")?);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..pairs).map(|_| sync_channel(QUEUE)).unzip();
        let mut jobs: Vec<Job<'_>> = receivers.into_iter().map(consumer).collect();
        jobs.extend((0..pairs).map(|index| producer(index, senders.clone(), batches)));
        // Consumers end when the last sender is gone.
        drop(senders);
        Ok(race(Kind::Threads, jobs)?.into())
    }
}

fn producer(index: usize, queues: Vec<SyncSender<Batch>>, batches: usize) -> Job<'static> {
    Box::new(move |line| {
        let mut rng = Rng::new(index);
        line.wait();
        for queue in queues.iter().cycle().skip(index).take(batches) {
            queue.send(batch(&mut rng)).unwrap_or_else(|_| fail("a consumer is gone"));
        }
    })
}

fn batch(rng: &mut Rng) -> Batch {
    (0..BATCH).map(|_| Block::new(mixed_size(rng))).collect()
}

/// Mostly small: a power of two from 16 to 512 bytes, and up to as much again on top.
fn mixed_size(rng: &mut Rng) -> usize {
    let base = 16 << rng.below(6);
    base + rng.below(base)
}

fn consumer(queue: Receiver<Batch>) -> Job<'static> {
    Box::new(move |line| {
        line.wait();
        queue.into_iter().for_each(drop);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_mixed_and_bounded() {
        let mut rng = Rng::new(7);
        let sizes: Vec<_> = (0..1000).map(|_| mixed_size(&mut rng)).collect();
        assert!(sizes.iter().all(|size| (16..1024).contains(size)));
        assert!(sizes.iter().any(|size| *size < 32) && sizes.iter().any(|size| *size > 512));
    }
}
