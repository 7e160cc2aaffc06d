//! Models of whole caches: refilling, draining, shrinking, tuning, depots, reaping. Owners run on CPU 0 unless said otherwise.

extern crate std;

use crate::cache::{Front, RawCache, Spec, Tuning};
use crate::explore::{explore, explore_within};
use crate::slab::Slab;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::run_on;
use kmem_base::source::Scratch;
use loom::thread;
use std::sync::Arc;
use std::vec::Vec;

/// Two CPUs of one node, and no pass of the reaper but what a model asks for.
pub(crate) const SETTINGS: Settings = Settings::new().with(Knob::Cpus, 2).with(Knob::DecayMs, 0).with(Knob::ArenaMb, 4);
/// Objects of 16 KiB: four to a slab.
pub(crate) const SIZE: usize = 16 << 10;

/// An allocator that has started.
pub(crate) fn started(source: &'static Scratch, settings: &Settings) -> Arc<Slab> {
    source.begin();
    let slab = Arc::new(Slab::new(source));
    assert!(slab.start(settings));
    slab
}

/// The same, and a cache with arrays or magazines of `limit` objects, and as many shared ones as two of them hold.
pub(crate) fn up(source: &'static Scratch, front: Front, limit: u32) -> (Arc<Slab>, &'static RawCache) {
    let slab = started(source, &SETTINGS);
    let cache = slab.create(&Spec::new("model", SIZE, 8).behind(front)).unwrap();
    slab.tune(cache, limit, limit, 2).unwrap();
    (slab, cache)
}

pub(crate) fn take(slab: &Slab, cache: &RawCache, count: usize) -> Vec<usize> {
    (0..count).map(|_| slab.alloc_object(cache).addr()).collect()
}

pub(crate) fn give(slab: &Slab, cache: &RawCache, objects: &[usize]) {
    // SAFETY: the models free each object once.
    objects.iter().for_each(|object| unsafe { slab.free_object(cache, core::ptr::without_provenance_mut(*object)) });
}

/// Every invariant holds with these objects in use, and with none once they are freed.
pub(crate) fn settle(slab: &Slab, cache: &RawCache, mut held: Vec<usize>) {
    assert!(!held.contains(&0));
    slab.check().unwrap();
    assert_eq!(slab.live_objects(cache), held.len());
    give(slab, cache, &held);
    held.sort_unstable();
    held.dedup();
    slab.shrink(cache);
    slab.check().unwrap();
    let info = slab.cache_info(cache);
    assert_eq!((info.objects, info.queued, info.shared, info.alien), (0, 0, 0, 0), "lost, or handed out twice");
}

/// `owner` on CPU 0 beside `other` on CPU 1; what the owner holds in the end.
fn beside(slab: &Arc<Slab>, owner: impl FnOnce(&Slab) -> Vec<usize> + Send + 'static, other: impl FnOnce(&Slab)) -> Vec<usize> {
    let theirs = slab.clone();
    let owner = thread::spawn(move || owner(&theirs));
    run_on(1);
    other(slab);
    owner.join().unwrap()
}

/// The same, and the owner's is the thread that goes on where nobody interrupts: one preemption is enough to have all of `other` in its midst.
fn around(slab: &Arc<Slab>, owner: impl FnOnce(&Slab) -> Vec<usize>, other: impl FnOnce(&Slab) + Send + 'static) -> Vec<usize> {
    let theirs = slab.clone();
    let other = thread::spawn(move || {
        run_on(1);
        other(&theirs);
    });
    let held = owner(slab);
    other.join().unwrap();
    held
}

#[test]
fn loom_a_refill_beside_a_shrink_loses_no_object() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (slab, cache) = up(&SOURCE, Front::Arrays, 2);
        // One in use and one in the array; two free in their slab.
        let mut held = take(&slab, cache, 1);
        held.append(&mut beside(
            &slab,
            |slab| take(slab, cache, 2),
            |slab| {
                slab.shrink(cache);
            },
        ));
        settle(&slab, cache, held);
    });
}

#[test]
fn loom_a_flush_beside_a_shrink_loses_no_object() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (slab, cache) = up(&SOURCE, Front::Arrays, 1);
        let objects = take(&slab, cache, 2);
        let held = beside(
            &slab,
            move |slab| {
                give(slab, cache, &objects);
                Vec::new()
            },
            |slab| {
                slab.shrink(cache);
            },
        );
        settle(&slab, cache, held);
    });
}

#[test]
fn loom_arrays_are_tuned_while_they_are_used() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(1, || {
        let (slab, cache) = up(&SOURCE, Front::Arrays, 2);
        let mut held = take(&slab, cache, 2);
        let object = held.pop().unwrap();
        let owner = move |slab: &Slab| {
            give(slab, cache, &[object]);
            // The one that was just freed; and one for which the empty array is taken out, filled and put back.
            take(slab, cache, 2)
        };
        held.append(&mut around(&slab, owner, move |slab| slab.tune(cache, 9, 3, 0).unwrap()));
        assert_eq!(slab.percpu.lease(cache.slot()).shape().unwrap().cap, 9);
        settle(&slab, cache, held);
    });
}

/// What tuning does to shared arrays, without the drain of the rows.
fn stop_sharing(slab: &Slab, cache: &RawCache) {
    slab.take_effect(cache, Tuning { limit: 1, batch: 1, shared: 0 });
    slab.empty_shared(cache);
}

#[test]
fn loom_nothing_is_shared_once_sharing_was_tuned_off() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(1, || {
        let (slab, cache) = up(&SOURCE, Front::Arrays, 1);
        let objects = take(&slab, cache, 2);
        let owner = move |slab: &Slab| {
            give(slab, cache, &objects);
            Vec::new()
        };
        let held = around(&slab, owner, move |slab| stop_sharing(slab, cache));
        assert_eq!(slab.cache_info(cache).shared, 0);
        settle(&slab, cache, held);
    });
}

#[test]
fn loom_magazines_are_resized_while_one_comes_out_of_the_depot() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(1, || {
        let (slab, cache) = up(&SOURCE, Front::Magazines, 1);
        let objects = take(&slab, cache, 3);
        give(&slab, cache, &objects);
        assert_eq!(slab.cache_info(cache).shared, 1, "one loaded, one previous, one in the depot");
        let mut held = take(&slab, cache, 2);
        held.append(&mut around(&slab, |slab| take(slab, cache, 1), move |slab| slab.tune(cache, 3, 3, 2).unwrap()));
        settle(&slab, cache, held);
    });
}

#[test]
fn loom_magazines_are_resized_while_one_goes_into_the_depot() {
    static SOURCE: Scratch = Scratch::new();
    // With two preemptions it takes minutes. What they would find, `loom_depot` does.
    explore_within(1, || {
        let (slab, cache) = up(&SOURCE, Front::Magazines, 1);
        let mut objects = take(&slab, cache, 3);
        let last = objects.pop().unwrap();
        give(&slab, cache, &objects);
        let owner = move |slab: &Slab| {
            give(slab, cache, &[last]);
            Vec::new()
        };
        let held = around(&slab, owner, move |slab| slab.tune(cache, 3, 3, 2).unwrap());
        let (full, _) = cache.depots[0].len();
        assert!(full == 0 || slab.percpu.lease(cache.slot()).shape().unwrap().cap == 3);
        settle(&slab, cache, held);
    });
}

#[test]
fn loom_the_reaper_prunes_an_array_while_it_is_used() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (slab, cache) = up(&SOURCE, Front::Arrays, 3);
        // One in use and two in the array, which the last pass has seen.
        let mut held = take(&slab, cache, 1);
        slab.reap_tick();
        let owner = |slab: &Slab| take(slab, cache, 1);
        held.append(&mut beside(&slab, owner, |slab| {
            slab.reap_arrays(cache);
        }));
        settle(&slab, cache, held);
    });
}

#[test]
fn loom_an_array_refilled_beside_a_pass_counts_as_touched() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (slab, cache) = up(&SOURCE, Front::Arrays, 2);
        let mut held = take(&slab, cache, 2);
        slab.reap_tick();
        assert_eq!(slab.cache_info(cache).queued, 0);
        // Refilled during a pass, or before it: by that one or the next it is spared.
        let theirs = slab.clone();
        let reaper = thread::spawn(move || {
            run_on(1);
            theirs.reap_arrays(cache).objects
        });
        held.append(&mut take(&slab, cache, 1));
        assert_eq!(reaper.join().unwrap(), 0);
        settle(&slab, cache, held);
    });
}

#[test]
fn loom_a_pass_puts_nothing_back_once_sharing_was_tuned_off() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (slab, cache) = up(&SOURCE, Front::Arrays, 1);
        let objects = take(&slab, cache, 2);
        give(&slab, cache, &objects);
        // The first look: from here on what is shared is idle.
        assert_eq!((slab.reap_shared(cache, 0), slab.cache_info(cache).shared), (0, 1));
        let reaper = |slab: &Slab| {
            slab.reap_shared(cache, 0);
            Vec::new()
        };
        let held = beside(&slab, reaper, |slab| stop_sharing(slab, cache));
        assert_eq!(slab.cache_info(cache).shared, 0);
        settle(&slab, cache, held);
    });
}
