//! When decay happens and how much of it at a time, with the clocks' marks set by hand. No test depends on how long anything takes.

extern crate std;
use super::*;
use crate::cache::{Flags, Spec};
use kmem_base::config::PAGE_SIZE;
use kmem_base::knobs::Settings;
use kmem_base::pages::{Kind, Run};
use kmem_base::percpu::on_cpu;
use kmem_base::source::{Call, Gate, GatedSource};
use kmem_base::sync::{AtomicU64, AtomicUsize};
use std::boxed::Box;
use std::time::Duration;
use std::vec::Vec;

/// Takes so many milliseconds to take memory back, and counts how often it did.
#[derive(Debug, Default)]
struct Slow {
    takes: AtomicU64,
    purges: AtomicUsize,
}

impl Gate for Slow {
    fn opens(&self, call: Call, _: usize) -> bool {
        if call == Call::Purge {
            self.purges.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(self.takes.load(Ordering::Relaxed)));
        }
        true
    }
}

/// An interval that does not end while a test runs.
const LONG: u64 = 86_400_000;

struct Ground {
    slubq: &'static Slubq,
    source: &'static GatedSource<Slow>,
}

impl Ground {
    /// On one CPU with locked rows.
    fn new(decay_ms: u64) -> Self {
        on_cpu(Some(0));
        let source: &'static GatedSource<Slow> = Box::leak(Box::default());
        let slubq: &'static Slubq = Box::leak(Box::new(Slubq::new(source)));
        let one = Settings::new().with(Knob::PerCpu, 1).with(Knob::Cpus, 1).with(Knob::ArenaMb, 64);
        assert!(slubq.start(&one.with(Knob::DecayMs, decay_ms).with(Knob::StashKb, 0).with(Knob::DepotKb, 0)));
        Self { slubq, source }
    }

    /// Takes pages until so many are in use.
    fn grow(&self, used: usize) -> Vec<Run> {
        (self.slubq.pages.used()..used).map(|_| self.slubq.pages.alloc(1, 1, Kind::Large).unwrap()).collect()
    }

    fn free(&self, runs: impl IntoIterator<Item = Run>) {
        // SAFETY: allocated by `grow`, freed once.
        runs.into_iter().for_each(|run| unsafe { self.slubq.pages.free(run.page) });
    }

    /// So many runs of free pages that cannot merge. What lies between them comes back.
    fn holes(&self, count: usize) -> Vec<Run> {
        let (free, kept): (Vec<_>, Vec<_>) =
            self.grow(self.slubq.pages.used() + 2 * count).into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
        self.free(free.into_iter().map(|(_, run)| run));
        kept.into_iter().map(|(_, run)| run).collect()
    }

    fn purges(&self) -> usize {
        self.source.0.purges.load(Ordering::Relaxed)
    }

    fn retained(&self) -> usize {
        self.slubq.pages.stats().retained / PAGE_SIZE
    }

    fn cache(&self) -> &'static Cache {
        self.slubq.create(&Spec::new("reaped", 1024, 8).with(Flags::NO_MERGE)).unwrap()
    }

    fn alloc(&self, cache: &Cache, count: usize) -> Vec<*mut u8> {
        (0..count).map(|_| self.slubq.alloc_object(cache)).inspect(|object| assert!(!object.is_null())).collect()
    }

    fn give_back(&self, cache: &Cache, objects: impl IntoIterator<Item = *mut u8>) {
        // SAFETY: the test's own objects, freed once.
        objects.into_iter().for_each(|object| unsafe { self.slubq.free_object(cache, object) });
    }
}

#[test]
fn growth_is_watched_from_what_the_heap_is() {
    let ground = Ground::new(0);
    for (used, more) in [(20, 64), (64 * 16, 64), (64 * 16 + 15, 64), (65 * 16, 65), (100 * 16, 100)] {
        let runs = ground.grow(used);
        ground.slubq.set_crowded();
        assert_eq!(ground.slubq.crowded.load(Ordering::Relaxed), used + more);
        ground.free(runs);
    }
}

#[test]
fn a_heap_has_shrunk_if_half_of_it_is_gone_and_4_mib() {
    let ground = Ground::new(0);
    for (peak, gone, shrunk) in
        [(128, 64, true), (127, 64, true), (129, 64, false), (126, 63, false), (201, 100, false), (201, 101, true)]
    {
        let runs = ground.grow(peak);
        ground.slubq.pages.forget_peak();
        ground.free(runs.iter().take(gone).copied());
        assert_eq!((ground.slubq.pages.used(), ground.slubq.has_shrunk()), (peak - gone, shrunk));
        ground.free(runs.into_iter().skip(gone));
    }
}

/// What purging took is paid for out of the time that passes.
#[test]
fn what_a_shrunk_heap_gives_back_is_paid_for() {
    let ground = Ground::new(LONG);
    let (slubq, until) = (ground.slubq, || ground.slubq.shrunk.load(Ordering::Relaxed));
    let kept = ground.holes(3);
    slubq.shrunk.store(u64::MAX, Ordering::Relaxed);
    slubq.tick_shrunk();
    assert_eq!((ground.purges(), until()), (0, u64::MAX), "the last time is not paid off");
    // Long ago: the credit is whole. Just now: none is left. At most 20 ms are spent, and the peak is not forgotten before it is all back.
    ground.source.0.takes.store(21, Ordering::Relaxed);
    for paid in [0, now_us()] {
        let (before, peak, left) = (now_us(), slubq.pages.below_peak(), ground.retained());
        slubq.shrunk.store(paid, Ordering::Relaxed);
        slubq.tick_shrunk();
        let least = paid.max(before.saturating_sub(SHRUNK_CREDIT_US)) + 21_000 * SHRUNK_SHARE;
        let most = paid.max(now_us().saturating_sub(SHRUNK_CREDIT_US)) + (now_us() - before) * SHRUNK_SHARE;
        assert!((least..=most).contains(&until()), "{least} <= {} <= {most}", until());
        assert_eq!((ground.retained(), slubq.pages.below_peak()), (left - 1, peak), "a system call that took longer is the last");
    }
    ground.source.0.takes.store(0, Ordering::Relaxed);
    // Once it is done within the time.
    let done = (0..100).any(|_| {
        slubq.shrunk.store(0, Ordering::Relaxed);
        slubq.tick_shrunk();
        (ground.retained(), slubq.pages.below_peak()) == (0, 0)
    });
    assert!(done);
    ground.free(kept);
}

/// However busy the machine is, at some time many calls that take no time fit into 20 ms.
#[test]
fn a_shrunk_heap_gives_back_as_long_as_it_has_time() {
    let ground = Ground::new(LONG);
    let kept = ground.holes(200);
    let most = (0..100).map(|_| {
        let before = ground.purges();
        ground.slubq.shrunk.store(0, Ordering::Relaxed);
        ground.slubq.tick_shrunk();
        ground.purges() - before
    });
    assert!(most.max().is_some_and(|most| most > 20));
    ground.free(kept);
}

#[test]
fn without_decay_a_shrunk_heap_keeps_what_it_has_and_so_it_does_beside_another_pass() {
    let ground = Ground::new(LONG);
    let kept = ground.holes(3);
    let pass = Pass::begin(&ground.slubq.decaying);
    ground.slubq.tick_shrunk();
    drop(pass);
    ground.slubq.knobs.set(Knob::DecayMs, 0).unwrap();
    ground.slubq.tick_shrunk();
    assert_eq!((ground.purges(), ground.retained()), (0, 3));
    ground.free(kept);
}

#[test]
fn a_small_heap_asks_no_clock() {
    let ground = Ground::new(LONG);
    let (slubq, due) = (ground.slubq, || ground.slubq.due.load(Ordering::Relaxed));
    let runs = ground.grow(SMALL_HEAP - 1);
    slubq.tick();
    assert_eq!(due(), 0);
    let more = ground.grow(SMALL_HEAP);
    let before = now_ms();
    slubq.tick();
    assert!((before + LONG..=now_ms() + LONG).contains(&due()), "an interval from now on");
    assert_eq!(due(), slubq.pass.load(Ordering::Relaxed));
    assert_eq!(
        (slubq.stage.load(Ordering::Relaxed), slubq.stepped.load(Ordering::Relaxed)),
        (0, 0),
        "the first time sets the clock"
    );
    // Small again, but the clock runs.
    ground.free(runs.into_iter().chain(more));
    assert!(slubq.pages.used() < SMALL_HEAP);
    slubq.due.store(1, Ordering::Relaxed);
    slubq.tick();
    assert!(due() > 1);
}

/// A pass when its time has come; then steps, until all is back that it has found.
#[test]
fn a_pass_goes_by_steps() {
    let ground = Ground::new(LONG);
    let (slubq, load) = (ground.slubq, |mark: &AtomicU64| mark.load(Ordering::Relaxed));
    let kept = ground.holes(3);
    slubq.pages.age();
    ground.source.0.takes.store(11, Ordering::Relaxed);
    slubq.pass.store(1, Ordering::Relaxed);
    let mut next = 0;
    for left in [2, 1] {
        slubq.due.store(1, Ordering::Relaxed);
        let (before_ms, before_us) = (now_ms(), now_us());
        slubq.tick_slow(now_ms());
        assert_eq!(ground.retained(), left, "10 ms are over after one call");
        assert!((before_us..=now_us()).contains(&load(&slubq.stepped)));
        assert!((before_ms + PAUSE_MS..=now_ms() + PAUSE_MS).contains(&load(&slubq.due)), "the next step");
        match left {
            2 => assert!((before_ms + LONG..=now_ms() + LONG).contains(&load(&slubq.pass)), "the next pass"),
            _ => assert_eq!(load(&slubq.pass), next, "it has not come yet"),
        }
        next = load(&slubq.pass);
        assert_eq!(slubq.stage.load(Ordering::Relaxed), Stage::Purge as u32);
    }
    // Before its time nothing happens.
    let due = load(&slubq.due);
    slubq.tick_slow(due - 1);
    assert_eq!((ground.retained(), load(&slubq.due)), (1, due));
    // A step that follows at once has no time for more than one call.
    let more = ground.holes(1);
    slubq.pages.age();
    slubq.stepped.store(u64::MAX, Ordering::Relaxed);
    slubq.tick_slow(due);
    assert_eq!(ground.retained(), 1);
    slubq.due.store(1, Ordering::Relaxed);
    slubq.tick_slow(now_ms());
    assert_eq!(ground.retained(), 0);
    slubq.due.store(1, Ordering::Relaxed);
    slubq.tick_slow(now_ms());
    assert_eq!((load(&slubq.due), slubq.stage.load(Ordering::Relaxed)), (load(&slubq.pass), Stage::Punch as u32), "all is done");
    ground.free(kept.into_iter().chain(more));
}

#[test]
fn a_step_takes_a_quarter_of_the_time_since_the_last() {
    let ground = Ground::new(LONG);
    let slubq = ground.slubq;
    let kept = ground.holes(200);
    slubq.pages.age();
    ground.source.0.takes.store(3, Ordering::Relaxed);
    slubq.pass.store(1, Ordering::Relaxed);
    slubq.due.store(1, Ordering::Relaxed);
    // 8 ms since the last one make a step of 2 ms, but for what the test itself takes; each call takes 3 ms or more.
    let before = now_us();
    slubq.stepped.store(before - 8000, Ordering::Relaxed);
    slubq.tick_slow(now_ms());
    let most = (now_us() - before + 8000) / 4 / 3000 + 1;
    assert!((1..=most as usize).contains(&ground.purges()), "{} in a step of {most} at most", ground.purges());
    ground.free(kept);
}

/// However busy the machine is, at some time many calls that take no time fit into 10 ms.
#[test]
fn a_step_goes_on_as_long_as_it_has_time() {
    let ground = Ground::new(LONG);
    let slubq = ground.slubq;
    let kept = ground.holes(200);
    slubq.pages.age();
    slubq.pass.store(u64::MAX, Ordering::Relaxed);
    slubq.stage.store(Stage::Purge as u32, Ordering::Relaxed);
    let longest = (0..100).map(|_| {
        let before = ground.purges();
        slubq.stepped.store(0, Ordering::Relaxed);
        slubq.due.store(1, Ordering::Relaxed);
        slubq.tick_slow(now_ms());
        ground.purges() - before
    });
    assert!(longest.max().is_some_and(|longest| longest > 20));
    ground.free(kept);
}

#[test]
fn a_turned_knob_sets_the_time_anew_and_zero_stops_it() {
    let ground = Ground::new(0);
    let (slubq, kept) = (ground.slubq, ground.holes(3));
    slubq.pages.age();
    slubq.due.store(1, Ordering::Relaxed);
    slubq.tick_slow(now_ms());
    assert_eq!((slubq.due.load(Ordering::Relaxed), ground.purges()), (u64::MAX, 0));
    ground.free(kept);
}

#[test]
fn a_heap_that_grew_is_looked_through_once() {
    let ground = Ground::new(LONG);
    let (slubq, crowded) = (ground.slubq, || ground.slubq.crowded.load(Ordering::Relaxed));
    let cache = ground.cache();
    let objects = ground.alloc(cache, 40);
    ground.give_back(cache, objects);
    let queued = || slubq.cache_info(cache).queued;
    let runs = ground.grow(SMALL_HEAP + 64);
    slubq.tick();
    let before = (crowded(), queued());
    slubq.due.store(u64::MAX, Ordering::Relaxed);
    // Another thread has the mark.
    slubq.crowded.store(usize::MAX, Ordering::Relaxed);
    (0..3).for_each(|_| slubq.tick_crowded());
    assert_eq!((crowded(), queued()), (usize::MAX, before.1));
    // A page less than that is nothing; from there on, it is looked through: marked the first time, drained the second.
    let used = slubq.pages.used();
    slubq.crowded.store(used + 1, Ordering::Relaxed);
    slubq.tick();
    assert_eq!(crowded(), used + 1);
    for left in [before.1, 0] {
        slubq.crowded.store(used, Ordering::Relaxed);
        slubq.tick();
        assert_eq!(queued(), left);
        assert!(crowded() >= slubq.pages.used() + 64, "watched anew");
    }
    assert_eq!(ground.purges(), 0, "nothing goes back to the system");
    ground.free(runs);
}

/// 32 caches in a pass, and the next goes on from there.
#[test]
fn every_cache_has_its_turn_to_be_drained() {
    let ground = Ground::new(0);
    let caches: Vec<_> = (0..40).map(|_| ground.cache()).collect();
    // One stays in use, so that no queue is as it was.
    let fill = || {
        for cache in &caches {
            let objects = ground.alloc(cache, 3);
            ground.give_back(cache, objects.into_iter().skip(1));
        }
    };
    let full = || caches.iter().map(|cache| ground.slubq.cache_info(cache).queued > 0).collect::<Vec<_>>();
    fill();
    ground.slubq.decay();
    assert_eq!(full(), [true; 40], "what was just used is marked");
    ground.slubq.decay();
    assert_eq!(full(), [[false; 32].as_slice(), &[true; 8]].concat());
    fill();
    ground.slubq.decay();
    assert_eq!(full(), [true; 40]);
    ground.slubq.decay();
    // From the 32nd on to the last, and then from the first one on.
    assert_eq!(full(), [[false; 23].as_slice(), &[true; 8], &[false; 9]].concat());
}

#[test]
fn a_pass_by_hand_says_what_went_back() {
    let ground = Ground::new(0);
    let kept = ground.holes(3);
    assert_eq!([ground.slubq.decay(), ground.slubq.decay(), ground.slubq.decay()], [0, 3 * PAGE_SIZE, 0]);
    ground.free(kept);
}

#[test]
fn as_many_partial_slabs_are_kept_as_were_asked_for() {
    let ground = Ground::new(0);
    let cache = ground.cache();
    ground.slubq.tune(cache, Tunable::CpuQueueSize, 0).unwrap();
    ground.slubq.tune(cache, Tunable::MinPartial, 10).unwrap();
    let objects = ground.alloc(cache, 6 * cache.geometry.objects as usize);
    let (kept, free) = objects.split_first().unwrap();
    ground.give_back(cache, free.iter().copied());
    assert_eq!(cache.slabs(), 6);
    for (keep, left) in [(7, 6), (6, 6), (4, 4), (3, 3), (0, 1)] {
        ground.slubq.release_empty(cache, keep);
        assert_eq!(cache.slabs(), left, "one of them is in use");
    }
    ground.give_back(cache, [*kept]);
}

/// In grades, fullest first; empty ones are gone.
#[test]
fn shrinking_sorts_partial_slabs() {
    let ground = Ground::new(0);
    let cache = ground.cache();
    let (slabs, per_slab) = (64, cache.geometry.objects as usize);
    assert_eq!(per_slab, 64);
    let objects = ground.alloc(cache, slabs * per_slab);
    ground.slubq.expire(cache, Level::Queues);
    // From each slab another number comes back, in an order that is not that of the slabs.
    let mut by_slab: std::collections::BTreeMap<usize, Vec<*mut u8>> = std::collections::BTreeMap::new();
    objects.iter().for_each(|object| by_slab.entry(object.addr() / PAGE_SIZE).or_default().push(*object));
    assert_eq!(by_slab.len(), slabs);
    for (at, objects) in by_slab.values().enumerate() {
        ground.give_back(cache, objects[..at * 37 % slabs].iter().copied());
    }
    let released = ground.slubq.shrink(cache);
    assert_eq!(released, 0);
    let free: Vec<usize> = {
        let list = cache.shards[0].lock();
        // SAFETY: listed pages start slabs of this cache.
        list.pages().map(|page| unsafe { Slab::new(page, &cache.geometry) }.state().free() as usize).collect()
    };
    assert_eq!(free.len(), slabs - 1);
    // A grade of 65/32 objects.
    assert!(free.windows(2).all(|pair| pair[0] < pair[1] + 3), "{free:?}");
    assert!(free[0] <= 3 && free[slabs - 2] >= 61);
    for (at, objects) in by_slab.values().enumerate() {
        ground.give_back(cache, objects[at * 37 % slabs..].iter().copied());
    }
    assert_eq!(ground.slubq.live_objects(cache), 0);
}
