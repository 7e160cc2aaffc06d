//! Every call to the system failing: null, and nothing lost.

mod common;

use common::{Heap, configurations};
use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::{Call, Plan};
use kmem_slubq::{Flags, Level, Spec};
use kmem_testkit::{Op, Profile, StressConfig, ops, run_or_panic, stress_or_panic};

/// Small arenas and huge blocks from 128 KiB on: many calls to the system.
fn settings() -> Settings {
    Settings::new().with(Knob::ArenaMb, 4).with(Knob::HugeKb, 128)
}

fn demanding() -> Vec<Op> {
    let mut list = ops(11, 150, Profile::Small);
    list.extend(ops(12, 300, Profile::Large));
    list.push(Op::Trim);
    list.extend(ops(13, 150, Profile::Mixed));
    list
}

fn heap_with(plan: Plan) -> Heap {
    let mut heap = Heap::unstarted();
    heap.fails = true;
    heap.source.plan(plan);
    // May fail, and is then tried again by the first allocation.
    heap.slubq.start(&settings());
    heap
}

/// What holds once memory is back, whatever failed before: nothing was lost, and every request is granted.
fn serves_again(heap: &Heap, list: &[Op]) {
    heap.slubq.check().unwrap();
    heap.source.plan(Plan::Never);
    assert_eq!(run_or_panic(heap, list).nulls, 0, "memory is back, so are allocations");
    heap.slubq.check().unwrap();
    heap.slubq.trim(Level::Queues);
    let retained = heap.slubq.retained();
    assert_eq!((retained.queues, retained.depots, retained.slabs), (0, 0, 0));
}

#[test]
fn each_call_failing_once_loses_nothing() {
    let list = demanding();
    let calls = {
        let heap = heap_with(Plan::Never);
        run_or_panic(&heap, &list);
        heap.source.calls()
    };
    assert!(calls > 50, "only {calls} calls to fail");
    for nth in 0..calls {
        let heap = heap_with(Plan::Nth(nth));
        run_or_panic(&heap, &list);
        assert!(heap.source.failures() == 1 || heap.source.calls() <= nth, "call {nth} failed, if there was one");
        serves_again(&heap, &list);
    }
}

#[test]
fn calls_failing_for_good_leave_what_there_is() {
    for from in [0, 1, 2, 5, 9, 14, 25, 40] {
        let heap = heap_with(Plan::From(from));
        run_or_panic(&heap, &demanding());
        serves_again(&heap, &demanding());
    }
}

#[test]
fn one_kind_of_call_failing_is_survived() {
    for call in Call::ALL {
        let heap = heap_with(Plan::Kind(call));
        run_or_panic(&heap, &demanding());
        assert!(heap.source.failures() > 0, "the run makes calls of every kind: {call:?}");
        serves_again(&heap, &demanding());
    }
}

#[test]
fn calls_failing_at_random_are_survived() {
    for (seed, one_in) in [(1, 2), (2, 3), (3, 5), (4, 10), (5, 30)] {
        let heap = heap_with(Plan::Random { seed, one_in });
        run_or_panic(&heap, &demanding());
        assert!(heap.source.failures() > 0);
        serves_again(&heap, &demanding());
    }
}

#[test]
fn random_failures_under_threads() {
    for seed in 0..4 {
        let mut heap = Heap::new(&settings());
        heap.fails = true;
        heap.source.plan(Plan::Random { seed, one_in: 3 });
        let config =
            StressConfig { threads: 4, ops_per_thread: 1500, slots: 64, profile: Profile::Mixed, seed, ..StressConfig::default() };
        stress_or_panic(&heap, &config);
        assert!(heap.source.failures() > 0);
        serves_again(&heap, &demanding());
    }
}

#[test]
fn the_hard_limit_answers_null() {
    let mut heap = Heap::new(&settings().with(Knob::LimitMb, 16));
    heap.fails = true;
    let report = run_or_panic(&heap, &ops(3, 400, Profile::Large));
    assert!(report.nulls > 0);
    let used = heap.slubq.page_stats().used;
    assert!(used <= 16 << 20, "{used}");
}

#[test]
fn caches_and_reservations_fail_cleanly() {
    let heap = heap_with(Plan::From(0));
    assert!(heap.slubq.create(&Spec::new("none", 100, 8)).is_err());
    heap.source.plan(Plan::Never);
    let mut spec = Spec::new("late", 1000, 8);
    spec.flags = Flags::NO_MERGE;
    let cache = heap.slubq.create(&spec).unwrap();
    heap.source.plan(Plan::From(0));
    // The arena's writable part runs out sooner or later; what was set aside must not be lost then.
    let mut held = Vec::new();
    while let Some(reservation) = heap.slubq.reserve(cache, 1000) {
        held.push(reservation);
    }
    assert_eq!(heap.slubq.live_objects(cache), held.len() * 1000);
    drop(held);
    heap.slubq.check().unwrap();
    heap.destroy(cache).unwrap();
}

#[test]
fn a_failed_start_is_tried_again() {
    for nth in 0..12 {
        let heap = heap_with(Plan::Nth(nth));
        heap.source.plan(Plan::Never);
        run_or_panic(&heap, &demanding());
    }
    let _ = configurations();
}
