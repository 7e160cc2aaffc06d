//! How often operations leave the fast path: with one row for all CPUs, so that it makes no difference where a thread runs, and without
//! decay, so that it makes none when.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::sync::Ordering;
use kmem_slubq::{Cache, Spec, Tunable};

/// Objects that are live all the time: on a sheaf's edge, beside it, and beyond the queue.
const HELD: [usize; 6] = [0, 1, 64, 127, 254, 1000];
const SWINGS: u64 = 4;

struct Swing {
    heap: Heap,
    cache: &'static Cache,
    batch: u64,
}

/// Slow paths of a number of swings.
#[derive(Debug, PartialEq, Eq)]
struct Slow {
    allocs: u64,
    frees: u64,
    /// Sheaves that came from beyond the queue.
    fetched: u64,
}

impl Swing {
    fn new(stash_kb: u64) -> Self {
        let one_row = Settings::new().with(Knob::ArenaMb, 64).with(Knob::PerCpu, 1).with(Knob::Cpus, 1);
        let heap = Heap::new(&one_row.with(Knob::DecayMs, 0).with(Knob::StashKb, stash_kb).with(Knob::DepotKb, 2 * stash_kb));
        let cache = heap.cache(&Spec::new("swing", 64, 8));
        Self { heap, cache, batch: u64::from(cache.tunable(Tunable::BatchSize)) }
    }

    fn alloc(&self, count: u64) -> Vec<*mut u8> {
        (0..count).map(|_| self.heap.slubq.alloc_object(self.cache)).collect()
    }

    fn free(&self, objects: Vec<*mut u8>) {
        // SAFETY: allocated from this cache by `alloc`, and freed once.
        objects.into_iter().for_each(|object| unsafe { self.heap.slubq.free_object(self.cache, object) });
    }

    fn counts(&self) -> Slow {
        let counters = self.cache.counters();
        let load = |counter: &kmem_base::sync::AtomicU64| counter.load(Ordering::Relaxed);
        Slow {
            allocs: load(&counters.alloc_slowpath),
            frees: load(&counters.free_slowpath),
            fetched: load(&counters.alloc_stash) + load(&counters.alloc_shared) + load(&counters.alloc_slab),
        }
    }

    /// Slow paths of a few swings of `amplitude` allocations and as many frees, in the steady state.
    fn measure(&self, amplitude: u64) -> Slow {
        (0..SWINGS).for_each(|_| self.free(self.alloc(amplitude)));
        let before = self.counts();
        (0..SWINGS).for_each(|_| self.free(self.alloc(amplitude)));
        let after = self.counts();
        Slow { allocs: after.allocs - before.allocs, frees: after.frees - before.frees, fetched: after.fetched - before.fetched }
    }
}

/// Measures swings around every number of live objects in [`HELD`], with stash and depot and without.
fn every_swing(amplitudes: impl Iterator<Item = u64> + Clone, check: impl Fn(&Swing, u64, Slow, &str)) {
    for stash_kb in [512, 0] {
        let swing = Swing::new(stash_kb);
        for held in HELD {
            let objects = swing.alloc(held as u64);
            for amplitude in amplitudes.clone() {
                let case = format!("{amplitude} objects around {held}, stash {stash_kb} KiB");
                check(&swing, amplitude, swing.measure(amplitude), &case);
            }
            swing.free(objects);
        }
    }
}

#[test]
fn a_swing_of_half_a_batch_takes_no_slow_path() {
    every_swing(1..=63, |_, _, slow, case| assert_eq!(slow, Slow { allocs: 0, frees: 0, fetched: 0 }, "{case}"));
}

#[test]
fn a_swing_of_a_batch_takes_three_slow_paths_in_two_swings_at_most_and_fetches_nothing() {
    // Mostly one each way: main and spare sheaf are exchanged. After some to and fro they are evened out, which may cost one more.
    let most = SWINGS + SWINGS / 2;
    every_swing(64..=127, |swing, amplitude, slow, case| {
        assert!(amplitude <= swing.batch);
        assert!(slow.allocs <= most && slow.frees <= most && slow.fetched == 0, "{slow:?}: {case}");
    });
}

#[test]
fn a_longer_way_takes_one_slow_path_per_batch_and_one_where_it_turns() {
    every_swing([128, 134, 171, 254, 255, 400, 800, 2000].into_iter(), |swing, amplitude, slow, case| {
        let batches = amplitude.div_ceil(swing.batch);
        assert!(slow.allocs <= SWINGS * (batches + 1) && slow.frees <= SWINGS * (batches + 1), "{slow:?}: {case}");
        assert!(slow.fetched <= SWINGS * batches, "{slow:?}: {case}");
    });
}
