//! Every `membarrier` failing: once, always, at random. Without it other CPUs' queues cannot be drained (theory 7.3).

mod common;

use common::{Heap, configurations, free_all};
use kmem_base::config::MAX_SLOTS;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::{Barriers, Idle, Mode};
use kmem_base::source::Plan;
use kmem_slubq::{Cache, Flags, Level, Spec, Tunable, TuneError};
use kmem_testkit::{Profile, StressConfig, ops, run_or_panic, stress_or_panic};

/// A heap with restartable sequences, or `None` where there are none, and then nothing to interrupt.
fn restartable(settings: &Settings) -> Option<Heap> {
    let heap = Heap::new(settings);
    (heap.slubq.mode() == Mode::Restartable).then_some(heap)
}

fn plain() -> Option<Heap> {
    restartable(&configurations()[0].1)
}

/// A cache with some objects in its queue, and as many in use.
fn busy(heap: &Heap) -> (&'static Cache, Vec<*mut u8>) {
    let cache = heap.cache(&Spec::new("busy", 128, 8).with(Flags::NO_MERGE));
    let mut objects: Vec<_> = (0..60).map(|_| heap.slubq.alloc_object(cache)).collect();
    free_all(heap, cache, objects.drain(30..));
    (cache, objects)
}

/// Everything that drains: under each of `plan`'s failures the answer is one of those that are documented. Nobody else uses the heap.
fn drain_in_every_way(heap: &Heap) -> Vec<Result<(), TuneError>> {
    drain(heap, true)
}

/// The same, with checks between if this thread is `alone`: only then are counts and walks of the heap exact.
fn drain(heap: &Heap, alone: bool) -> Vec<Result<(), TuneError>> {
    let check = |live, cache: &Cache| {
        if alone {
            heap.slubq.check().unwrap();
            assert_eq!(heap.slubq.live_objects(cache), live);
        }
    };
    let (cache, objects) = busy(heap);
    let sizes = [16, 0, 1000, 254];
    let answers = sizes.map(|size| heap.slubq.tune(cache, Tunable::CpuQueueSize, size));
    check(objects.len(), cache);
    heap.slubq.shrink(cache);
    heap.slubq.trim(Level::Queues);
    for _ in 0..4 {
        heap.slubq.decay();
    }
    assert!(heap.destroy(cache).is_err(), "objects are in use");
    check(objects.len(), cache);
    free_all(heap, cache, objects);
    check(0, cache);
    if heap.destroy(cache).is_err() {
        // It lives on, with or without queues.
        let object = heap.slubq.alloc_object(cache);
        assert!(!object.is_null());
        free_all(heap, cache, [object]);
    }
    answers.to_vec()
}

#[test]
fn a_barrier_that_fails_once_is_asked_for_again() {
    let barriers = Barriers::new();
    let Some(heap) = plain() else { return };
    barriers.plan(Plan::Never);
    drain_in_every_way(&heap);
    let calls = barriers.calls();
    assert!(calls >= 6, "only {calls} calls to fail");
    let list = ops(5, 400, Profile::Small);
    for nth in 0..calls {
        barriers.plan(Plan::Nth(nth));
        assert_eq!(drain_in_every_way(&heap), [Ok(()); 4], "call {nth} failed, the next did not");
        run_or_panic(&heap, &list);
    }
}

#[test]
fn without_barriers_nothing_is_drained_and_nothing_is_lost() {
    let barriers = Barriers::new();
    let Some(heap) = plain() else { return };
    let (cache, objects) = busy(&heap);
    let before = heap.slubq.cache_info(cache);
    assert!(before.queued > 0);
    barriers.plan(Plan::From(0));
    assert!(!heap.slubq.percpu().drain(cache.slot(), Idle::Any, |_| panic!("nothing can be taken")));
    assert_eq!(heap.slubq.tune(cache, Tunable::CpuQueueSize, 20), Err(TuneError::Unsupported));
    assert_eq!((cache.tunable(Tunable::CpuQueueSize), cache.tunable(Tunable::BatchSize)), (254, 127), "as it was");
    heap.slubq.shrink(cache);
    (0..4).for_each(|_| {
        heap.slubq.decay();
    });
    assert_eq!(heap.slubq.cache_info(cache), before, "queues stay as they are");
    let busy = heap.destroy(cache).unwrap_err();
    assert!(busy.live > 0);
    assert_eq!(heap.slubq.cache_info(cache), before, "so do they when the cache cannot be destroyed");
    assert_eq!(drain_in_every_way(&heap), [Err(TuneError::Unsupported); 4]);
    run_or_panic(&heap, &ops(6, 2000, Profile::Small));
    barriers.plan(Plan::Never);
    assert_eq!(heap.slubq.tune(cache, Tunable::CpuQueueSize, 20), Ok(()));
    assert_eq!(heap.slubq.cache_info(cache).queued, 0);
    free_all(&heap, cache, objects);
    heap.destroy(cache).unwrap();
    assert_eq!(drain_in_every_way(&heap), [Ok(()); 4]);
}

/// The first drain of `destroy` works, the one that gives the queues back does not.
#[test]
fn a_cache_that_could_not_be_destroyed_has_its_queues_back() {
    let barriers = Barriers::new();
    let Some(heap) = plain() else { return };
    let calls = |work: &dyn Fn()| {
        barriers.plan(Plan::Never);
        work();
        barriers.calls()
    };
    let (cache, objects) = busy(&heap);
    let first = calls(&|| heap.slubq.tune(cache, Tunable::CpuQueueSize, 0).unwrap());
    heap.slubq.tune(cache, Tunable::CpuQueueSize, 254).unwrap();
    free_all(&heap, cache, (0..30).map(|_| heap.slubq.alloc_object(cache)).collect::<Vec<_>>());
    barriers.plan(Plan::From(first));
    assert!(heap.destroy(cache).is_err());
    free_all(&heap, cache, objects);
    assert_eq!(cache.tunable(Tunable::CpuQueueSize), 254);
    assert!(heap.slubq.cache_info(cache).queued > 0, "a cache that stays has queues");
}

#[test]
fn random_failures_while_queues_are_drained_by_threads() {
    let barriers = Barriers::new();
    for seed in 0..3 {
        let Some(heap) = restartable(&Settings::new().with(Knob::DecayMs, 1).with(Knob::StashKb, 4)) else { return };
        barriers.plan(Plan::Random { seed, one_in: 2 });
        let failed = barriers.failures();
        let config = StressConfig { threads: 4, ops_per_thread: 4000, seed, respawn: true, ..StressConfig::default() };
        std::thread::scope(|scope| {
            let storm = scope.spawn(|| stress_or_panic(&heap, &config));
            // Each pass may leave a cache that could not be destroyed, and there are not slots for any number of them.
            for _ in (0..MAX_SLOTS / 2).take_while(|_| !storm.is_finished()) {
                let _busy = heap.busy.read().unwrap();
                drain(&heap, false);
            }
        });
        assert!(barriers.failures() > failed + 10);
        heap.slubq.check().unwrap();
        barriers.plan(Plan::Never);
        assert_eq!(drain_in_every_way(&heap), [Ok(()); 4]);
        heap.slubq.trim(Level::Queues);
        let retained = heap.slubq.retained();
        assert_eq!((retained.queues, retained.depots), (0, 0));
    }
}

/// A drain that has taken sheaves must not use them before the barrier has worked again, however long that takes.
#[test]
fn a_drain_waits_for_a_barrier_that_fails_in_the_midst() {
    let barriers = Barriers::new();
    let Some(heap) = plain() else { return };
    let (cache, objects) = busy(&heap);
    // A decay pass of this thread's would wait for the drain, which waits for this thread.
    heap.slubq.knobs().set(kmem_base::knobs::Knob::DecayMs, 0).unwrap();
    barriers.plan(Plan::From(1));
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| heap.slubq.tune(cache, Tunable::CpuQueueSize, 30));
        while barriers.calls() < 40 {
            // The drain is in the midst; whoever allocates goes on without a queue.
            free_all(&heap, cache, [heap.slubq.alloc_object(cache)]);
            std::thread::yield_now();
        }
        assert!(!drain.is_finished());
        barriers.plan(Plan::Never);
        assert_eq!(drain.join().unwrap(), Ok(()));
    });
    heap.slubq.check().unwrap();
    assert_eq!(heap.slubq.live_objects(cache), objects.len());
    free_all(&heap, cache, objects);
    heap.destroy(cache).unwrap();
}

#[test]
fn a_system_without_the_barrier_gets_locked_rows() {
    let barriers = Barriers::new();
    barriers.plan(Plan::From(0));
    let heap = Heap::new(&configurations()[0].1);
    assert_eq!(heap.slubq.mode(), Mode::Locked);
    assert_eq!(drain_in_every_way(&heap), [Ok(()); 4], "locked rows need none");
    run_or_panic(&heap, &ops(7, 2000, Profile::Small));
}
