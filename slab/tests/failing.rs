//! Every call to the system failing: null, and nothing lost.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::Plan;
use kmem_slab::Flags;
use kmem_testkit::{Op, Profile, StressConfig, ops, run_or_panic, stress_or_panic};

/// Small arenas and huge blocks from 128 KiB on: many calls to the system.
fn settings(magazines: bool) -> Settings {
    Settings::new().with(Knob::ArenaMb, 4).with(Knob::HugeKb, 128).with(Knob::Front, u64::from(magazines))
}

fn demanding() -> Vec<Op> {
    let mut list = ops(11, 150, Profile::Small);
    list.extend(ops(12, 300, Profile::Large));
    list.push(Op::Trim);
    list.extend(ops(13, 150, Profile::Mixed));
    list
}

fn heap_with(plan: Plan, magazines: bool) -> Heap {
    let mut heap = Heap::unstarted();
    heap.fails = true;
    heap.source.plan(plan);
    // May fail, and is then tried again by the first allocation.
    heap.slab.start(&settings(magazines));
    heap
}

/// What holds once memory is back, whatever failed before: nothing was lost, and every request is granted.
fn serves_again(heap: &Heap, list: &[Op]) {
    heap.slab.check().unwrap();
    heap.source.plan(Plan::Never);
    assert_eq!(run_or_panic(heap, list).nulls, 0, "memory is back, so are allocations");
    heap.slab.trim();
    let mut slabs = 0;
    // Lists of other caches' slabs may lie in general caches; those go with the slabs.
    heap.slab.for_each_cache(|cache| slabs += heap.slab.cache_info(cache).slabs());
    assert_eq!(slabs, 0);
}

#[test]
fn each_call_failing_once_loses_nothing() {
    let list = demanding();
    for magazines in [false, true] {
        let calls = {
            let heap = heap_with(Plan::Never, magazines);
            run_or_panic(&heap, &list);
            heap.source.calls()
        };
        assert!(calls > 50, "only {calls} calls to fail");
        for nth in (0..calls).step_by(if magazines { 3 } else { 1 }) {
            let heap = heap_with(Plan::Nth(nth), magazines);
            run_or_panic(&heap, &list);
            serves_again(&heap, &list);
        }
    }
}

#[test]
fn nothing_but_failures_is_nothing_but_null() {
    let heap = heap_with(Plan::From(0), false);
    let report = run_or_panic(&heap, &demanding());
    assert!(report.allocs == 0 && report.nulls > 0);
    serves_again(&heap, &demanding());
}

#[test]
fn caches_that_need_lists_elsewhere_lose_nothing_when_there_is_no_memory() {
    for nth in 0..40 {
        let heap = heap_with(Plan::Never, false);
        let cache = heap.cache(4096, Flags::TYPESAFE);
        heap.source.plan(Plan::Nth(nth));
        let objects: Vec<_> = (0..600).map(|_| heap.slab.alloc_object(cache)).filter(|object| !object.is_null()).collect();
        heap.slab.check().unwrap();
        assert_eq!(heap.slab.live_objects(cache), objects.len());
        heap.free_all(cache, objects);
        heap.source.plan(Plan::Never);
        heap.destroy(cache).unwrap();
        heap.slab.synchronize();
    }
}

#[test]
fn random_failures_under_threads_lose_nothing() {
    for magazines in [false, true] {
        let heap = heap_with(Plan::Random { seed: 5, one_in: 5 }, magazines);
        let config = StressConfig { threads: 4, ops_per_thread: 4000, seed: 3, profile: Profile::Mixed, ..StressConfig::default() };
        stress_or_panic(&heap, &config);
        serves_again(&heap, &demanding());
    }
}
