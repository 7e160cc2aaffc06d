//! How often the slow path is taken, and locks with it: counted, so that it is the same every time.

mod common;

use common::{Heap, read};
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_slab::{Counters, Flags, RawCache};

/// One locked row, so that where the thread runs makes no difference.
fn heap(magazines: bool) -> Heap {
    let settings = Settings::new().with(Knob::ArenaMb, 1024).with(Knob::PerCpu, 1).with(Knob::Cpus, 2);
    on_cpu(Some(0));
    Heap::new(&settings.with(Knob::Front, u64::from(magazines)).with(Knob::DecayMs, 0))
}

fn misses(counters: &Counters) -> u64 {
    read(&counters.alloc_miss) + read(&counters.free_miss)
}

/// Runs `load` twice, the first time to get the cache into its steady state. Slow paths and locks per operation of the second, in units of
/// one per batch.
fn per_batch(heap: &Heap, cache: &RawCache, operations: usize, load: impl Fn()) -> (f64, f64) {
    load();
    let before = cache.counters();
    load();
    let after = cache.counters();
    let limit = heap.slab.row(cache).limit;
    // At least half an array, or a magazine, lies between two slow paths.
    let batches = operations as f64 / (limit as f64 / if heap.slab.row(cache).batchcount == limit { 1.0 } else { 2.0 });
    ((misses(&after) - misses(&before)) as f64 / batches, (read(&after.locks) - read(&before.locks)) as f64 / batches)
}

#[test]
fn pairs_take_no_slow_path() {
    for magazines in [false, true] {
        let heap = heap(magazines);
        let cache = heap.cache(64, Flags::NONE);
        let load = || (0..10_000).for_each(|_| heap.free_all(cache, heap.alloc_many(cache, 1)));
        assert_eq!(per_batch(&heap, cache, 20_000, load), (0.0, 0.0));
    }
}

#[test]
fn swings_take_it_once_per_batch_and_two_locks_at_most() {
    for magazines in [false, true] {
        for (size, swing) in [(64, 10), (64, 1000), (64, 20_000), (1000, 3000), (2000, 500), (8000, 300)] {
            let heap = heap(magazines);
            let cache = heap.cache(size, Flags::NONE);
            let load = || (0..40).for_each(|_| heap.free_all(cache, heap.alloc_many(cache, swing)));
            let (slow, locks) = per_batch(&heap, cache, 80 * swing, load);
            assert!(slow <= 1.01 && locks <= 2.01, "{size} x {swing}, magazines {magazines}: {slow} slow paths, {locks} locks");
        }
    }
}

#[test]
fn one_who_allocates_and_one_who_frees_take_no_more() {
    for magazines in [false, true] {
        let heap = heap(magazines);
        let cache = heap.cache(64, Flags::NONE);
        let load = || {
            for _ in 0..200 {
                on_cpu(Some(0));
                let objects = heap.alloc_many(cache, 100);
                on_cpu(Some(1));
                heap.free_all(cache, objects);
            }
        };
        let (slow, locks) = per_batch(&heap, cache, 40_000, load);
        assert!(slow <= 1.01 && locks <= 2.01, "magazines {magazines}: {slow} slow paths, {locks} locks");
    }
}
