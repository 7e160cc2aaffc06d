//! The reaper: what a pass takes, and what it leaves.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_slab::{Flags, RawCache, Reaped, Slab};
use std::sync::Mutex;

/// One locked row; passes by hand alone.
fn heap(magazines: bool) -> Heap {
    let settings = Settings::new().with(Knob::ArenaMb, 1024).with(Knob::PerCpu, 1).with(Knob::Cpus, 2);
    on_cpu(Some(0));
    Heap::new(&settings.with(Knob::Front, u64::from(magazines)).with(Knob::DecayMs, 0))
}

fn passes(heap: &Heap, count: usize) {
    for _ in 0..count {
        heap.slab.reap_tick();
    }
}

fn queued(slab: &Slab, cache: &RawCache) -> usize {
    slab.cache_info(cache).queued
}

fn cached(slab: &Slab, cache: &RawCache) -> usize {
    let info = slab.cache_info(cache);
    info.queued + info.shared + info.alien
}

#[test]
fn an_array_in_use_is_spared_once_then_gives_up_a_fifth_of_its_limit() {
    let heap = heap(false);
    let cache = heap.cache(64, Flags::NONE);
    heap.free_all(cache, heap.alloc_many(cache, 120));
    let before = queued(heap.slab, cache);
    assert!(before > 60);
    assert_eq!(heap.slab.reap_tick().objects, 0, "touched since the last pass");
    assert_eq!(queued(heap.slab, cache), before);
    let mut left = before;
    while left > 0 {
        let shared = heap.slab.cache_info(cache).shared;
        heap.slab.reap_tick();
        let take = if 24 > left { left.div_ceil(2) } else { 24 };
        left -= take;
        assert_eq!(queued(heap.slab, cache), left, "a fifth of 120, or half of fewer");
        assert!(heap.slab.cache_info(cache).shared <= shared);
        heap.slab.check().unwrap();
    }
}

#[test]
fn what_is_cached_decays_at_least_as_fast_as_by_fifths() {
    for magazines in [false, true] {
        let heap = heap(magazines);
        let cache = heap.cache(64, Flags::NONE);
        heap.free_all(cache, heap.alloc_many(cache, 5000));
        let before = cached(heap.slab, cache) as f64;
        heap.slab.reap_tick();
        heap.slab.reap_tick();
        for idle in 1..=40 {
            heap.slab.reap_tick();
            heap.slab.reap_tick();
            let bound = before * 0.8_f64.powi(idle);
            assert!(cached(heap.slab, cache) as f64 <= bound + 1.0, "magazines {magazines}, interval {idle}");
        }
        assert_eq!(cached(heap.slab, cache), 0);
        assert_eq!(heap.slab.cache_info(cache).slabs(), 0, "and so do slabs");
    }
}

#[test]
fn free_slabs_that_are_needed_stay() {
    let heap = heap(false);
    let cache = heap.cache(512, Flags::NONE);
    let per_slab = cache.geometry().objects as usize;
    // More than the arrays hold come and go, so that a free slab is taken from each time.
    for _ in 0..10 {
        heap.free_all(cache, heap.alloc_many(cache, 5 * per_slab));
        assert_eq!(heap.slab.reap_tick().slabs, 0);
    }
}

#[test]
fn only_caches_that_hold_something_are_looked_at() {
    let heap = heap(false);
    let caches: Vec<_> = (0..100).map(|_| heap.cache(64, Flags::NONE)).collect();
    heap.free_all(caches[7], heap.alloc_many(caches[7], 1));
    heap.slab.reap_tick();
    let mut passes = 0;
    loop {
        let reaped = heap.slab.reap_tick();
        assert!(reaped.caches <= 1, "one of a hundred is in use");
        passes += 1;
        if reaped.caches == 0 {
            break;
        }
        assert!(passes < 100);
    }
    assert_eq!(heap.slab.cache_info(caches[7]).slabs(), 0);
    heap.free_all(caches[8], heap.alloc_many(caches[8], 1));
    assert_eq!(heap.slab.reap_tick().caches, 1, "until it is used again");
}

#[test]
fn magazines_that_nobody_needed_for_an_interval_go() {
    let heap = heap(true);
    let cache = heap.cache(64, Flags::NONE);
    heap.free_all(cache, heap.alloc_many(cache, 300));
    let full = heap.slab.cache_info(cache).shared;
    assert!(full >= 100);
    // The first look begins an interval, in which a part of the depot is needed.
    heap.slab.reap_tick();
    heap.slab.reap_tick();
    let needed = heap.alloc_many(cache, 60);
    heap.free_all(cache, needed);
    heap.slab.reap_tick();
    heap.slab.reap_tick();
    let left = heap.slab.cache_info(cache).shared;
    assert!(0 < left && left < full, "{left} of {full}");
}

#[test]
fn reclaimable_bytes_are_counted_and_destructors_run_when_asked() {
    let heap = heap(false);
    let cache =
        kmem_slab::Cache::builder("strings").within(heap.slab).flags(Flags::RECLAIM_ACCOUNT).constructed(String::new).unwrap();
    drop((0..10_000).map(|_| cache.alloc().unwrap()).collect::<Vec<_>>());
    let info = heap.slab.cache_info(cache.raw());
    assert_eq!(heap.slab.reclaimable(), info.slabs() * cache.raw().geometry().bytes());
    assert!(heap.slab.reclaimable() > 0);
    passes(&heap, 200);
    assert_eq!((heap.slab.cache_info(cache.raw()).slabs(), heap.slab.reclaimable()), (0, 0));
}

#[test]
fn caches_that_say_they_can_be_reclaimed_go_first() {
    static GONE: Mutex<Vec<bool>> = Mutex::new(Vec::new());
    /// Whether it is one of the cache that says so.
    struct Noted(bool);
    impl Drop for Noted {
        fn drop(&mut self) {
            GONE.lock().unwrap().push(self.0);
        }
    }
    let heap = heap(false);
    // Made last, so that it comes first for what it says alone.
    let last = kmem_slab::Cache::builder("last").within(heap.slab).constructed(|| Noted(false)).unwrap();
    let builder = kmem_slab::Cache::builder("first").within(heap.slab).flags(Flags::RECLAIM_ACCOUNT);
    let first = builder.constructed(|| Noted(true)).unwrap();
    for cache in [&last, &first] {
        drop((0..10_000).map(|_| cache.alloc().unwrap()).collect::<Vec<_>>());
    }
    GONE.lock().unwrap().clear();
    let mut passes = 0;
    while GONE.lock().unwrap().is_empty() {
        heap.slab.reap_tick();
        passes += 1;
        assert!(passes < 200);
    }
    let gone = GONE.lock().unwrap();
    assert!(gone.contains(&true) && gone.contains(&false), "one pass takes from both");
    assert!(gone.is_sorted_by_key(|first| !first), "the one that can be reclaimed first");
}

#[test]
fn passes_happen_by_themselves_when_the_time_has_come() {
    let heap = Heap::with_front(false);
    let cache = heap.cache(64, Flags::NONE);
    let held = heap.alloc_many(cache, 40_000);
    heap.free_all(cache, held);
    let other = heap.cache(1000, Flags::NONE);
    let begun = std::time::Instant::now();
    // What a program does that goes on lightly: slow paths now and then.
    let queued = queued(heap.slab, cache);
    while heap.slab.cache_info(cache).queued == queued {
        heap.free_all(other, heap.alloc_many(other, 200));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(begun.elapsed().as_secs() < 300, "{:?}", heap.slab.cache_info(cache));
    }
}

#[test]
fn what_passes_did_adds_up() {
    let mut all = Reaped { objects: 1, slabs: 2, bytes: 3, caches: 4 };
    all += Reaped { objects: 10, slabs: 20, bytes: 30, caches: 40 };
    assert_eq!(all, Reaped { objects: 11, slabs: 22, bytes: 33, caches: 44 });
}
