//! Slow paths and locks per operation: counted, so that the machine does not matter.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use kmem_slab::{Cache, Front, Object, Plain, system};

use super::markdown::section;
use super::verdict;
use crate::bench::Scale;
use crate::rng::Rng;
use crate::{Result, cpus};

/// Sixty-four bytes: arrays of 120, magazines of 15 at first.
type Thing = [u64; 8];
type Things = Cache<Thing, Plain>;
type One<'a> = Object<'a, Thing, Plain>;

const THING: Thing = [1; 8];

/// Slow paths and locks per batch that are allowed.
const SLOW: f64 = 1.0;
const LOCKS: f64 = 2.0;
/// What a warm-up may leave over: the first batches of a load are not its steady state.
const ROUNDING: f64 = 0.005;

/// A load of about so many operations on a cache; returns how many there were.
struct Load {
    name: &'static str,
    run: fn(&Things, usize) -> Result<usize>,
}

const LOADS: [Load; 4] = [
    Load { name: "malloc-test: pairs", run: pairs },
    Load { name: "churn: 10 k live, random walk", run: churn },
    Load { name: "bulk: 1000 and back", run: swings },
    Load { name: "one CPU allocates, another frees", run: one_way },
];

/// Counts of a cache at one time.
#[derive(Clone, Copy)]
struct Counts {
    slow: u64,
    locks: u64,
}

pub(super) fn report(scale: Scale) -> Result<String> {
    let operations = scale.pick(4_000, 1_000_000, 10_000_000);
    let mut lines = Vec::new();
    for load in &LOADS {
        for (name, front) in [("arrays", Front::Arrays), ("magazines", Front::Magazines)] {
            lines.push(line(load, name, front, operations)?);
        }
    }
    let about = "Objects of 64 bytes, counted by the cache itself, after a tenth of the load. A batch is half an array, or a magazine; \
                 magazines grow where the depot's lock is contended. Targets: at most one slow path and two locks (node, alien array, \
                 depot) per batch.";
    let head = ["", "batch", "operations", "per slow path", "slow paths per batch", "locks per batch", "target"];
    Ok(section("Slow paths and locks", about, &head, &lines))
}

fn line(load: &Load, front_name: &str, front: Front, operations: usize) -> Result<Vec<String>> {
    let cache = Cache::builder("bench").front(front).plain::<Thing>()?;
    (load.run)(&cache, operations / 10)?;
    let before = read(&cache);
    let operations = (load.run)(&cache, operations)?;
    let after = read(&cache);
    let batch = system().row(cache.raw()).batchcount;
    let (slow, locks) = (after.slow - before.slow, after.locks - before.locks);
    let per_batch = |count: u64| count as f64 * batch as f64 / operations as f64;
    let reached = per_batch(slow) <= SLOW + ROUNDING && per_batch(locks) <= LOCKS + ROUNDING;
    Ok(vec![
        format!("{}, {front_name}", load.name),
        batch.to_string(),
        operations.to_string(),
        if slow == 0 { "none".to_owned() } else { format!("{:.0}", operations as f64 / slow as f64) },
        format!("{:.2}", per_batch(slow)),
        format!("{:.2}", per_batch(locks)),
        verdict(reached),
    ])
}

fn read(cache: &Things) -> Counts {
    let mut counts = Counts { slow: 0, locks: 0 };
    cache.raw().counters().for_each(|name, value| match name {
        "alloc_miss" | "free_miss" => counts.slow += value,
        "locks" => counts.locks += value,
        _ => {}
    });
    counts
}

fn pairs(cache: &Things, operations: usize) -> Result<usize> {
    for _ in 0..operations / 2 {
        drop(cache.insert(THING)?);
    }
    Ok(operations / 2 * 2)
}

/// Allocates or frees, whatever the coin says; what is freed is a random one of those that live.
fn churn(cache: &Things, operations: usize) -> Result<usize> {
    let live = (operations / 10).min(10_000);
    let mut rng = Rng::new(1);
    let mut things: Vec<One<'_>> = Vec::with_capacity(live + operations);
    for _ in 0..live {
        things.push(cache.insert(THING)?);
    }
    for _ in 0..operations {
        if things.is_empty() || rng.below(2) == 0 {
            things.push(cache.insert(THING)?);
        } else {
            let at = rng.below(things.len());
            drop(things.swap_remove(at));
        }
    }
    Ok(live + operations + things.len())
}

fn swings(cache: &Things, operations: usize) -> Result<usize> {
    const SWING: usize = 1000;
    let mut things: Vec<One<'_>> = Vec::with_capacity(SWING);
    for _ in 0..operations / SWING / 2 {
        for _ in 0..SWING {
            things.push(cache.insert(THING)?);
        }
        things.clear();
    }
    Ok(operations / SWING / 2 * SWING * 2)
}

/// Objects handed over at once.
const HANDFUL: usize = 256;

fn one_way(cache: &Things, operations: usize) -> Result<usize> {
    let handfuls = operations / HANDFUL / 2;
    let (full, to_free) = sync_channel(4);
    let (empty, to_fill) = sync_channel(4);
    for _ in 0..4 {
        empty.send(Vec::with_capacity(HANDFUL)).map_err(|_| "nobody waits for a handful")?;
    }
    thread::scope(|scope| {
        scope.spawn(|| free_all(to_free, empty));
        let producer = scope.spawn(|| allocate_all(cache, to_fill, full, handfuls));
        producer.join().map_err(|_| "a thread panicked")?
    })?;
    Ok(handfuls * HANDFUL * 2)
}

/// There are never more handfuls than a queue has room for, so that sending does not wait.
fn allocate_all<'a>(
    cache: &'a Things,
    to_fill: Receiver<Vec<One<'a>>>,
    full: SyncSender<Vec<One<'a>>>,
    handfuls: usize,
) -> Result<()> {
    cpus::stay_on(0);
    for _ in 0..handfuls {
        let mut handful = to_fill.recv()?;
        for _ in 0..HANDFUL {
            handful.push(cache.insert(THING)?);
        }
        full.send(handful).map_err(|_| "the other thread is gone")?;
    }
    Ok(())
}

fn free_all<'a>(to_free: Receiver<Vec<One<'a>>>, empty: SyncSender<Vec<One<'a>>>) {
    cpus::stay_on(1);
    for mut handful in to_free {
        handful.clear();
        // The other thread may have all that it needs.
        let _ = empty.send(handful);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_does_what_it_says_and_leaves_nothing() {
        for load in &LOADS {
            let cache = Cache::builder("loads").plain::<Thing>().unwrap();
            let operations = (load.run)(&cache, 20_000).unwrap();
            assert!((19_000..=30_000).contains(&operations), "{}: {operations}", load.name);
            assert_eq!(system().live_objects(cache.raw()), 0, "{}", load.name);
        }
    }

    #[test]
    fn pairs_have_no_slow_path() {
        let cache = Cache::builder("pairs").front(Front::Arrays).plain::<Thing>().unwrap();
        pairs(&cache, 10).unwrap();
        let before = read(&cache);
        pairs(&cache, 1000).unwrap();
        // The thread may have moved to another CPU.
        assert!(read(&cache).slow - before.slow <= 2 && before.slow >= 1);
    }
}
