//! Every `membarrier` failing: once, always, at random. Without it other CPUs' arrays cannot be drained.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::{Barriers, Mode};
use kmem_base::source::Plan;
use kmem_slab::{DebugError, Flags, Front, RawCache, Spec, TuneError};
use kmem_testkit::{Profile, StressConfig, ops, run_or_panic, stress_or_panic};

const FRONTS: [Front; 2] = [Front::Arrays, Front::Magazines];

/// A heap with restartable sequences, or `None` where there are none, and then nothing to interrupt.
fn restartable() -> Option<Heap> {
    let heap = Heap::new(&Settings::new().with(Knob::ArenaMb, 1024).with(Knob::DecayMs, 0));
    (heap.slab.mode() == Mode::Restartable).then_some(heap)
}

/// A cache with some objects before its slabs, and 30 in use.
fn busy(heap: &Heap, front: Front) -> (&'static RawCache, Vec<*mut u8>) {
    let cache = heap.slab.create(&Spec::new("busy", 128, 8).behind(front)).unwrap();
    let mut objects = heap.alloc_many(cache, 90);
    heap.free_all(cache, objects.drain(30..));
    (cache, objects)
}

/// Everything that drains: its answers. Nothing is lost, whatever they are.
fn drain_in_every_way(heap: &Heap, front: Front) -> (Result<(), TuneError>, Result<(), DebugError>) {
    let (cache, objects) = busy(heap, front);
    let tuned = heap.slab.tune(cache, 40, 20, 2);
    let switched = heap.slab.set_debug(cache, Flags::DEBUG);
    heap.slab.shrink(cache);
    heap.slab.trim();
    (0..4).for_each(|_| _ = heap.slab.reap_tick());
    assert!(heap.destroy(cache).is_err(), "objects are in use");
    heap.slab.check().unwrap();
    assert_eq!(heap.slab.live_objects(cache), objects.len());
    heap.free_all(cache, objects);
    assert_eq!(heap.slab.live_objects(cache), 0);
    if heap.destroy(cache).is_err() {
        // It lives on, with what it had.
        heap.free_all(cache, heap.alloc_many(cache, 200));
        heap.slab.check().unwrap();
    }
    (tuned, switched)
}

#[test]
fn a_barrier_that_fails_once_is_asked_for_again() {
    for front in FRONTS {
        let barriers = Barriers::new();
        let Some(heap) = restartable() else { return };
        barriers.plan(Plan::Never);
        assert_eq!(drain_in_every_way(&heap, front), (Ok(()), Err(DebugError::InUse)));
        let calls = barriers.calls();
        assert!(calls >= 6, "only {calls} calls to fail");
        let list = ops(5, 200, Profile::Small);
        for nth in 0..calls {
            barriers.plan(Plan::Nth(nth));
            let (tuned, switched) = drain_in_every_way(&heap, front);
            assert_eq!((tuned, switched), (Ok(()), Err(DebugError::InUse)), "call {nth} failed, the next did not");
            run_or_panic(&heap, &list);
        }
    }
}

#[test]
fn without_barriers_nothing_is_drained_and_nothing_is_lost() {
    for front in FRONTS {
        let barriers = Barriers::new();
        let Some(heap) = restartable() else { return };
        let (cache, objects) = busy(&heap, front);
        let (before, row) = (heap.slab.cache_info(cache), heap.slab.row(cache));
        assert!(before.queued > 0);
        barriers.plan(Plan::From(0));
        assert_eq!(heap.slab.tune(cache, 20, 10, 2), Err(TuneError::Unsupported));
        assert_eq!(heap.slab.set_debug(cache, Flags::DEBUG), Err(DebugError::Unsupported));
        assert_eq!(heap.slab.row(cache), row, "as it was");
        heap.slab.shrink(cache);
        (0..4).for_each(|_| _ = heap.slab.reap_tick());
        assert_eq!(heap.slab.cache_info(cache).queued, before.queued, "arrays stay as they are");
        let refused = heap.destroy(cache).unwrap_err();
        assert!(refused.live > objects.len(), "what is in arrays cannot be told from what is in use");
        assert_eq!(drain_in_every_way(&heap, front), (Err(TuneError::Unsupported), Err(DebugError::Unsupported)));
        run_or_panic(&heap, &ops(6, 2000, Profile::Small));
        barriers.plan(Plan::Never);
        assert_eq!(heap.slab.tune(cache, 20, 10, 2), Ok(()));
        assert_eq!(heap.slab.cache_info(cache).queued, 0);
        heap.free_all(cache, objects);
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn random_failures_while_arrays_are_drained_by_threads() {
    let barriers = Barriers::new();
    for front in FRONTS {
        let Some(heap) = restartable() else { return };
        barriers.plan(Plan::Random { seed: 9, one_in: 2 });
        let failed = barriers.failures();
        let cache = heap.slab.create(&Spec::new("busy", 128, 8).behind(front)).unwrap();
        let config = StressConfig { threads: 4, ops_per_thread: 4000, seed: 3, respawn: true, ..StressConfig::default() };
        let subject = heap.subject(cache);
        std::thread::scope(|scope| {
            let storm = scope.spawn(|| stress_or_panic(&subject, &config));
            for round in 0.. {
                let _busy = heap.busy.read();
                let answer = heap.slab.tune(cache, 10 + round % 90, 5, 2);
                assert!(matches!(answer, Ok(()) | Err(TuneError::Unsupported)));
                heap.slab.reap_tick();
                heap.slab.shrink(cache);
                if storm.is_finished() {
                    break;
                }
            }
        });
        assert!(barriers.failures() > failed);
        barriers.plan(Plan::Never);
        heap.slab.check().unwrap();
        assert_eq!(heap.slab.live_objects(cache), 0);
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn a_system_without_the_barrier_gets_locked_rows() {
    let barriers = Barriers::new();
    barriers.plan(Plan::From(0));
    let heap = Heap::new(&Settings::new().with(Knob::ArenaMb, 1024));
    assert_eq!(heap.slab.mode(), Mode::Locked);
    assert_eq!(drain_in_every_way(&heap, Front::Arrays), (Ok(()), Err(DebugError::InUse)), "locked rows need none");
    run_or_panic(&heap, &ops(7, 2000, Profile::Small));
}
