//! queues: what kmem's per-CPU queues bring. A batch of objects is allocated and freed, in order or shuffled, as in the benchmark of the
//! kernel's sheaves; and one CPU allocates what another frees.

use std::hint::{black_box, spin_loop};
use std::mem::MaybeUninit;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale};
use crate::crew::{Job, Kind, fail, race};
use crate::params::Params;
use crate::rng::Rng;
use crate::{Result, cpus};

/// The benchmark.
pub(crate) struct Queues;

/// An object of 256 bytes, as much as a small message takes in the kernel. Its first word is written.
struct Object {
    _first: u64,
    _rest: MaybeUninit<[u8; 248]>,
}

fn object() -> Box<Object> {
    black_box(Box::new(Object { _first: 1, _rest: MaybeUninit::uninit() }))
}

/// Objects handed over at once in the rows about CPUs.
const HANDFUL: usize = 256;
/// Handfuls under way.
const UNDER_WAY: usize = 16;

/// A batch, how it is freed, and the gain in percent that is asked for.
pub(crate) const BATCHES: &[(usize, Order, f64)] = &[
    (1, Order::Straight, 15.0),
    (10, Order::Straight, 15.0),
    (100, Order::Straight, 30.0),
    (1000, Order::Straight, 30.0),
    (10, Order::Shuffled, 12.0),
    (100, Order::Shuffled, 28.0),
    (1000, Order::Shuffled, 6.0),
];

/// In which order a batch is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Straight,
    Shuffled,
}

/// Names of the rows about CPUs.
pub(crate) const SAME_CPU: &str = "one thread allocates and frees";
pub(crate) const HANDED_OVER: &str = "the same, addresses handed over";
pub(crate) const OTHER_CPU: &str = "one CPU allocates, another frees";

impl Order {
    /// Name of a batch's row.
    pub(crate) fn row(self, batch: usize) -> String {
        let order = if self == Self::Straight { "in order" } else { "shuffled" };
        format!("batches of {batch}, {order}")
    }
}

impl Bench for Queues {
    fn name(&self) -> &'static str {
        "queues"
    }

    fn about(&self) -> &'static str {
        "kmem alone: with its per-CPU queues and without"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let pairs = scale.pick(2_000, 1_000_000, 5_000_000);
        let batch = |&(batch, order, _): &(usize, Order, f64)| {
            let shuffled = usize::from(order == Order::Shuffled);
            Row::new(order.row(batch)).with("batch", batch).with("shuffled", shuffled).with("pairs", pairs)
        };
        let traffic = |name: &str| Row::new(name).with("traffic", name).with("pairs", pairs);
        Ok(BATCHES.iter().map(batch).chain([SAME_CPU, HANDED_OVER, OTHER_CPU].map(traffic)).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let pairs = params.get("pairs")?;
        let time = match params.get::<String>("traffic").as_deref() {
            Ok(SAME_CPU) => on_one_cpu(pairs),
            Ok(HANDED_OVER) => hand_over(pairs, fill_addresses)?,
            Ok(_) => hand_over(pairs, |handful, _| fill(handful))?,
            Err(_) => batches(pairs, params.get("batch")?, params.get::<usize>("shuffled")? == 1),
        };
        Ok(time.into())
    }
}

/// Allocates and frees batches; `shuffled` ones are allocated in random places and freed in order, which comes to the same.
fn batches(pairs: usize, batch: usize, shuffled: bool) -> Duration {
    let mut places: Vec<usize> = (0..batch).collect();
    if shuffled {
        shuffle(&mut places);
    }
    let mut blocks: Vec<Option<Box<Object>>> = (0..batch).map(|_| None).collect();
    let clock = Instant::now();
    for _ in 0..pairs.div_ceil(batch) {
        places.iter().for_each(|place| blocks[*place] = Some(object()));
        blocks.iter_mut().for_each(|block| *block = None);
    }
    clock.elapsed()
}

fn shuffle(places: &mut [usize]) {
    let mut rng = Rng::new(places.len());
    (1..places.len()).rev().for_each(|last| places.swap(last, rng.below(last + 1)));
}

type Objects = Vec<Box<Object>>;

fn fill(objects: &mut Objects) {
    objects.extend((0..HANDFUL).map(|_| object()));
}

fn on_one_cpu(pairs: usize) -> Duration {
    cpus::stay_on(0);
    let mut objects = Objects::with_capacity(HANDFUL);
    let clock = Instant::now();
    for _ in 0..pairs / HANDFUL {
        fill(&mut objects);
        objects.clear();
    }
    clock.elapsed()
}

/// Hands over what objects would take, but the objects themselves are freed where they were allocated.
fn fill_addresses(handful: &mut Vec<usize>, own: &mut Objects) {
    own.clear();
    fill(own);
    handful.extend(own.iter().map(|object| std::ptr::from_ref(&**object).addr()));
}

/// What the producer does: it fills a handful, and may have objects of its own.
type Fill<T> = fn(&mut Vec<T>, &mut Objects);

/// Handfuls travel through one queue and come back empty through another, so that only objects are allocated. Nobody sleeps: what a
/// wake-up takes is not what is asked.
fn hand_over<T: Send + 'static>(pairs: usize, fill: Fill<T>) -> Result<Duration> {
    let (full, to_free) = sync_channel(UNDER_WAY);
    let (empty, to_fill) = sync_channel(UNDER_WAY);
    for _ in 0..UNDER_WAY {
        empty.send(Vec::with_capacity(HANDFUL)).map_err(|_| "nobody waits for a handful")?;
    }
    race(Kind::Threads, vec![consumer(to_free, empty), producer(to_fill, full, pairs / HANDFUL, fill)])
}

/// There are never more handfuls than a queue has room for, so that sending does not wait.
fn producer<T: Send + 'static>(
    to_fill: Receiver<Vec<T>>,
    full: SyncSender<Vec<T>>,
    handfuls: usize,
    fill: Fill<T>,
) -> Job<'static> {
    Box::new(move |line| {
        cpus::stay_on(0);
        let mut own = Objects::with_capacity(HANDFUL);
        line.wait();
        for _ in 0..handfuls {
            let mut handful = next(&to_fill).unwrap_or_else(|| fail("the consumer is gone"));
            fill(&mut handful, &mut own);
            full.send(handful).unwrap_or_else(|_| fail("the consumer is gone"));
        }
    })
}

fn consumer<T: Send + 'static>(to_free: Receiver<Vec<T>>, empty: SyncSender<Vec<T>>) -> Job<'static> {
    Box::new(move |line| {
        cpus::stay_on(1);
        line.wait();
        while let Some(mut handful) = next(&to_free) {
            handful.drain(..).for_each(|item| drop(black_box(item)));
            // The producer may have all that it needs.
            let _ = empty.send(handful);
        }
    })
}

/// The next handful, without sleeping; none when the other side has ended.
fn next<T>(queue: &Receiver<T>) -> Option<T> {
    const SPINS: u32 = 1000;
    let mut spins = 0;
    loop {
        match queue.try_recv() {
            Ok(handful) => return Some(handful),
            Err(TryRecvError::Disconnected) => return None,
            // Both may be on one CPU.
            Err(TryRecvError::Empty) if spins == SPINS => yield_now(),
            Err(TryRecvError::Empty) => {
                spins += 1;
                spin_loop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_every_place_once() {
        let mut places: Vec<usize> = (0..100).collect();
        shuffle(&mut places);
        assert_ne!(places, (0..100).collect::<Vec<_>>());
        places.sort_unstable();
        assert_eq!(places, (0..100).collect::<Vec<_>>());
    }
}
