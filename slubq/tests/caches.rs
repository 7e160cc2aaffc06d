//! Caches created at run time: constructors, merging, destruction, bulk operations, reservations, tunables.

mod common;

use common::{Ends, Heap, configurations};
use kmem_base::fault::Fault;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::pages::{Kind, Page};
use kmem_slubq::geometry::Geometry;
use kmem_slubq::slab::{Duty, Slab};
use kmem_slubq::{Busy, Cache, CreateError, Flags, Level, Spec, Tunable, TuneError};
use kmem_testkit::{FixedSubject, Hooks, Profile, StressConfig, Subject, run_or_panic, stress_or_panic};
use std::alloc::Layout;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn plain() -> Heap {
    Heap::new(&configurations()[0].1)
}

fn alone(name: &str, size: usize) -> Spec<'_> {
    Spec::new(name, size, 8).with(Flags::NO_MERGE)
}

#[derive(Default)]
struct Tally {
    made: AtomicUsize,
    gone: AtomicUsize,
}

/// # Safety
/// `context` is a `Tally`.
unsafe fn construct(object: *mut u8, context: *mut ()) {
    // SAFETY: the caller's; the object is at least 8 bytes.
    unsafe {
        (*context.cast::<Tally>()).made.fetch_add(1, Ordering::Relaxed);
        object.cast::<u64>().write(0xC0FFEE);
    }
}

/// # Safety
/// `context` is a `Tally`.
unsafe fn destruct(object: *mut u8, context: *mut ()) {
    // SAFETY: the caller's.
    unsafe {
        assert_eq!(object.cast::<u64>().read(), 0xC0FFEE, "destroyed in its constructed state");
        (*context.cast::<Tally>()).gone.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn constructors_run_once_per_object_and_destructors_as_often() {
    for (name, settings) in configurations() {
        let heap = Heap::new(&settings);
        let tally: &'static Tally = Box::leak(Box::default());
        let context = std::ptr::from_ref(tally).cast_mut().cast();
        // SAFETY: the tally is leaked, and atomic.
        let spec = unsafe { Spec::new("made", 200, 8).constructed(Some(construct), Some(destruct), context) };
        let cache = heap.cache(&spec);
        for _ in 0..3 {
            let objects: Vec<_> = (0..2000).map(|_| heap.slubq.alloc_object(cache)).collect();
            for &object in &objects {
                // SAFETY: allocated above; 200 bytes.
                unsafe {
                    assert_eq!(object.cast::<u64>().read(), 0xC0FFEE, "{name}");
                    object.add(8).write_bytes(0xEE, 192);
                    heap.slubq.free_object(cache, object);
                }
            }
        }
        let made = tally.made.load(Ordering::Relaxed);
        assert!((2000..6000).contains(&made) || settings != Settings::new().with(Knob::ArenaMb, 1024), "{name}: {made}");
        heap.slubq.check().unwrap();
        heap.destroy(cache).unwrap();
        assert_eq!(tally.made.load(Ordering::Relaxed), tally.gone.load(Ordering::Relaxed), "{name}");
    }
}

#[test]
fn a_constructor_that_unwinds_loses_nothing() {
    /// # Safety
    /// `context` is a `Tally`.
    unsafe fn third_fails(object: *mut u8, context: *mut ()) {
        // SAFETY: the caller's.
        let made = unsafe { (*context.cast::<Tally>()).made.load(Ordering::Relaxed) };
        assert!(made != 2, "the third object cannot be made");
        // SAFETY: the caller's.
        unsafe { construct(object, context) };
    }
    let heap = plain();
    let tally: &'static Tally = Box::leak(Box::default());
    let context = std::ptr::from_ref(tally).cast_mut().cast();
    // SAFETY: the tally is leaked, and atomic.
    let spec = unsafe { Spec::new("unwinds", 64, 8).constructed(Some(third_fails), Some(destruct), context) };
    let cache = heap.cache(&spec);
    let used = heap.slubq.page_stats().used;
    let failed = std::panic::catch_unwind(|| heap.slubq.alloc_object(cache));
    assert!(failed.is_err());
    assert_eq!(tally.gone.load(Ordering::Relaxed), 2);
    assert!(heap.slubq.page_stats().used <= used + (4 << 16), "the slab went back; metadata may have grown");
    tally.made.store(100, Ordering::Relaxed);
    let object = heap.slubq.alloc_object(cache);
    assert!(!object.is_null());
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_object(cache, object) };
    heap.slubq.check().unwrap();
}

#[test]
fn a_constructor_that_unwinds_late_loses_nothing_either() {
    /// # Safety
    /// `context` is a `Tally`.
    unsafe fn later_slabs_fail(object: *mut u8, context: *mut ()) {
        // SAFETY: the caller's.
        let made = unsafe { (*context.cast::<Tally>()).made.load(Ordering::Relaxed) };
        assert!(made < 64, "no second slab");
        // SAFETY: the caller's.
        unsafe { construct(object, context) };
    }
    let heap = plain();
    let tally: &'static Tally = Box::leak(Box::default());
    let context = std::ptr::from_ref(tally).cast_mut().cast();
    // SAFETY: the tally is leaked, and atomic.
    let spec = unsafe { Spec::new("unwinds late", 1024, 8).constructed(Some(later_slabs_fail), Some(destruct), context) };
    let cache = heap.cache(&spec);
    let mut objects = Vec::new();
    while let Ok(object) = std::panic::catch_unwind(|| heap.slubq.alloc_object(cache)) {
        objects.push(object);
    }
    assert_eq!(objects.len(), 64);
    let mut bulk = vec![std::ptr::null_mut(); 100];
    // SAFETY: allocated above.
    objects.drain(..50).for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
    // Back in their slab, where a bulk request finds them before it needs another slab.
    heap.slubq.shrink(cache);
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| heap.slubq.alloc_bulk(cache, &mut bulk)));
    assert!(unwound.is_err());
    assert_eq!(heap.slubq.live_objects(cache), 14, "what it had got went back");
    // SAFETY: allocated above.
    objects.into_iter().for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
    heap.slubq.check().unwrap();
    heap.destroy(cache).unwrap();
}

#[test]
fn a_destructor_that_unwinds_frees_its_slab_all_the_same() {
    /// # Safety
    /// None.
    unsafe fn fails(_object: *mut u8, context: *mut ()) {
        // SAFETY: the caller's context is a `Tally`.
        let gone = unsafe { (*context.cast::<Tally>()).gone.fetch_add(1, Ordering::Relaxed) };
        assert!(gone != 3, "the fourth object cannot go");
    }
    let heap = plain();
    let tally: &'static Tally = Box::leak(Box::default());
    let context = std::ptr::from_ref(tally).cast_mut().cast();
    // SAFETY: the tally is leaked, and atomic.
    let spec = unsafe { Spec::new("stays", 1024, 8).constructed(None, Some(fails), context) };
    let cache = heap.cache(&spec);
    let object = heap.slubq.alloc_object(cache);
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_object(cache, object) };
    assert!(std::panic::catch_unwind(|| heap.slubq.shrink(cache)).is_err());
    assert_eq!(tally.gone.load(Ordering::Relaxed), 64);
    heap.slubq.check().unwrap();
    heap.destroy(cache).unwrap();
}

#[test]
fn caches_come_and_go_in_many_threads() {
    let heap = plain();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let cache = heap.cache(&Spec::new("shared", 1000, 8));
                    let object = heap.slubq.alloc_object(cache);
                    // SAFETY: allocated above.
                    unsafe { heap.slubq.free_object(cache, object) };
                    // One that another thread is just joining, or trimming, may stay.
                    let _ = heap.destroy(cache);
                }
            });
        }
    });
    heap.slubq.check().unwrap();
}

#[test]
fn equal_caches_share_slabs_unless_asked_not_to() {
    let heap = plain();
    let odd = 1000;
    let (a, b) = (heap.cache(&Spec::new("a", odd, 8)), heap.cache(&Spec::new("b", odd, 8)));
    assert!(std::ptr::eq(a, b), "merged");
    let own = heap.cache(&alone("own", odd));
    assert!(!std::ptr::eq(a, own));
    let general = heap.cache(&Spec::new("c", 64, 8));
    assert_eq!(general.name(), "kmalloc-64");
    let aligned = heap.cache(&Spec::new("line", 72, 8).with(Flags::HWCACHE_ALIGN));
    assert_eq!(aligned.geometry().size, 128);
    heap.destroy(a).unwrap();
    let object = heap.slubq.alloc_object(b);
    assert!(!object.is_null(), "the other user still has it");
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_object(b, object) };

    let apart = Heap::new(&Settings::new().with(Knob::Merge, 0));
    let (a, b) = (apart.cache(&Spec::new("a", odd, 8)), apart.cache(&Spec::new("b", odd, 8)));
    assert!(!std::ptr::eq(a, b));
}

#[test]
fn a_cache_in_use_is_not_destroyed() {
    let heap = plain();
    let cache = heap.cache(&alone("busy", 100));
    let objects: Vec<_> = (0..500).map(|_| heap.slubq.alloc_object(cache)).collect();
    assert_eq!(heap.destroy(cache), Err(Busy { live: 500 }));
    for (freed, &object) in objects.iter().enumerate() {
        // SAFETY: allocated above.
        unsafe { heap.slubq.free_object(cache, object) };
        assert_eq!(heap.slubq.live_objects(cache), 499 - freed);
    }
    let again = heap.slubq.alloc_object(cache);
    assert!(!again.is_null(), "it goes on as before");
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_object(cache, again) };
    heap.destroy(cache).unwrap();
    heap.slubq.check().unwrap();
}

#[test]
fn impossible_caches_are_refused() {
    let heap = plain();
    for (size, align) in [(Geometry::MAX_SIZE + 1, 8), (8, 1 << 17), (usize::MAX, 8), (8, 3), (8, 0)] {
        assert_eq!(heap.slubq.create(&Spec::new("no", size, align)).err(), Some(CreateError::Layout), "{size} {align}");
    }
    let spec = alone("one of many", 8);
    let caches: Vec<_> = std::iter::from_fn(|| heap.slubq.create(&spec).ok()).collect();
    assert_eq!(heap.slubq.create(&spec).err(), Some(CreateError::TooMany));
    assert!(caches.len() > 900);
    heap.destroy(caches[3]).unwrap();
    let last = heap.slubq.create(&spec).unwrap();
    let object = heap.slubq.alloc_object(last);
    assert!(!object.is_null());
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_object(last, object) };
}

#[test]
fn objects_are_as_aligned_as_asked() {
    let heap = plain();
    for shift in 3..=16 {
        let align = 1 << shift;
        let cache = heap.cache(&Spec::new("aligned", 24, align).with(Flags::NO_MERGE));
        let objects: HashSet<_> = (0..100).map(|_| heap.slubq.alloc_object(cache)).collect();
        assert_eq!(objects.len(), 100);
        for object in objects {
            assert!(object.addr().is_multiple_of(align));
            // SAFETY: allocated above.
            unsafe { heap.slubq.free_object(cache, object) };
        }
    }
}

fn fixed<'a>(heap: &'a Heap, cache: &'static Cache, size: usize) -> FixedSubject<'a> {
    let slubq = heap.slubq;
    FixedSubject::new(
        Layout::from_size_align(size, 8).unwrap(),
        // Every other path in turn: the queue, and the one that never waits.
        move || {
            let object = slubq.alloc_nowait(cache);
            if object.is_null() { slubq.alloc_object(cache) } else { object }
        },
        // SAFETY: the testkit frees what it allocated.
        move |object| unsafe { slubq.free_object(cache, object) },
    )
    // SAFETY: as above.
    .with_batch(move |out| slubq.alloc_bulk(cache, out), move |objects| unsafe { slubq.free_bulk(cache, objects) })
    .with_hooks(Hooks {
        trim: Some(Box::new(move || {
            slubq.expire(cache, Level::Shared);
        })),
        drain: Some(Box::new(move || {
            slubq.shrink(cache);
        })),
        check: Some(Box::new(|| heap.check())),
        ..Hooks::default()
    })
}

#[test]
fn object_caches_of_all_sizes_under_the_oracle() {
    for (name, settings) in configurations() {
        let heap = Heap::new(&settings);
        for size in [8, 24, 100, 1000, 5000, 40_000] {
            println!("{name} {size}");
            let cache = heap.cache(&alone("fixed", size));
            let subject = fixed(&heap, cache, size);
            run_or_panic(&subject, &kmem_testkit::ops(size as u64, 3000, Profile::Fixed));
            assert_eq!(heap.slubq.live_objects(cache), 0);
            drop(subject);
            heap.destroy(cache).unwrap();
        }
    }
}

#[test]
fn queues_are_resized_under_load_and_nothing_is_lost_or_doubled() {
    for locked in [0, 1] {
        let heap = Heap::new(&configurations()[0].1.with(Knob::PerCpu, locked));
        let cache = heap.cache(&alone("resized", 72));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _done = Ends(&done);
            scope.spawn(|| {
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let _busy = heap.busy.read();
                    let sizes = [4, 10_000, 120, 0, 254, 5, 1, 600];
                    heap.slubq.tune(cache, Tunable::CpuQueueSize, sizes[round % sizes.len()]).unwrap();
                    std::thread::yield_now();
                }
            });
            let config = StressConfig { threads: 4, ops_per_thread: 25_000, pass_percent: 30, seed: 5, ..StressConfig::default() };
            stress_or_panic(&fixed(&heap, cache, 72), &config);
        });
        assert_eq!(heap.slubq.live_objects(cache), 0);
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn tunables_take_what_makes_sense() {
    let heap = plain();
    let cache = heap.cache(&alone("tuned", 100));
    assert_eq!(cache.tunable(Tunable::CpuQueueSize), 254);
    assert_eq!(cache.tunable(Tunable::BatchSize), 127);
    assert_eq!(heap.slubq.tune(cache, Tunable::CpuQueueSize, 10_001), Err(TuneError::Value));
    assert_eq!(heap.slubq.tune(cache, Tunable::BatchSize, 128), Err(TuneError::Value));
    assert_eq!(heap.slubq.tune(cache, Tunable::BatchSize, 0), Err(TuneError::Value));
    heap.slubq.tune(cache, Tunable::BatchSize, 20).unwrap();
    heap.slubq.tune(cache, Tunable::MinPartial, 7).unwrap();
    heap.slubq.tune(cache, Tunable::SharedQueueSize, 0).unwrap();
    assert_eq!(cache.tunable(Tunable::BatchSize), 20);
    heap.slubq.tune(cache, Tunable::CpuQueueSize, 8).unwrap();
    assert_eq!(cache.tunable(Tunable::BatchSize), 4, "half of the new queue");
    for tunable in Tunable::ALL {
        assert_eq!(Tunable::named(tunable.name()), Some(tunable));
    }
    let lowmem = heap.cache(&Spec::new("low", 100, 8).with(Flags::NO_MERGE | Flags::LOWMEM));
    assert_eq!(lowmem.tunable(Tunable::CpuQueueSize), 5);
    assert_eq!(lowmem.tunable(Tunable::SharedQueueSize), 0);
    assert_eq!(lowmem.tunable(Tunable::MinPartial), 0);
}

#[test]
fn batches_come_and_go_whole() {
    let heap = plain();
    let cache = heap.cache(&alone("bulk", 48));
    for count in [1, 7, 63, 64, 127, 1000, 5000] {
        let mut objects = vec![std::ptr::null_mut(); count];
        assert_eq!(heap.slubq.alloc_bulk(cache, &mut objects), count);
        assert_eq!(objects.iter().collect::<HashSet<_>>().len(), count);
        assert_eq!(heap.slubq.live_objects(cache), count);
        // SAFETY: allocated above.
        unsafe { heap.slubq.free_bulk(cache, &objects) };
        assert_eq!(heap.slubq.live_objects(cache), 0);
        heap.slubq.check().unwrap();
    }
}

#[test]
fn reservations_hold_what_they_promise() {
    let heap = plain();
    let cache = heap.cache(&alone("reserved", 96));
    for count in [1, 10, 100, 1000, 5000] {
        let mut reservation = heap.slubq.reserve(cache, count).unwrap();
        assert_eq!((reservation.len(), reservation.is_empty()), (count, false));
        heap.source.plan(kmem_base::source::Plan::From(0));
        let objects: HashSet<_> = (0..count / 2).map(|_| reservation.alloc()).collect();
        heap.source.plan(kmem_base::source::Plan::Never);
        assert_eq!(objects.len(), count as usize / 2);
        drop(reservation);
        assert_eq!(heap.slubq.live_objects(cache), objects.len());
        // SAFETY: allocated above.
        objects.into_iter().for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
    }
    let mut reservation = heap.slubq.reserve(cache, 1).unwrap();
    let last = reservation.alloc();
    assert!(reservation.is_empty());
    drop(reservation);
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_object(cache, last) };
    assert!(heap.slubq.reserve(cache, 0).is_none());
    assert!(heap.slubq.reserve(cache, 5001).is_none());
    heap.destroy(cache).unwrap();
}

#[test]
fn slow_paths_happen_once_per_batch() {
    let heap = plain();
    let cache = heap.cache(&alone("counted", 64));
    let objects: Vec<_> = (0..12_700).map(|_| heap.slubq.alloc_object(cache)).collect();
    let counters = cache.counters();
    let slow = counters.alloc_slowpath.load(Ordering::Relaxed);
    // One batch of 16 while the shard counts as untouched; this thread may move between CPUs.
    assert!(slow <= 12_700 / 127 + 8, "{slow} slow paths");
    for object in objects {
        // SAFETY: allocated above.
        unsafe { heap.slubq.free_object(cache, object) };
    }
    let counters = cache.counters();
    let slow = counters.free_slowpath.load(Ordering::Relaxed);
    assert!(slow <= 12_700 / 127 + 8, "{slow} slow paths");
    let mut names = 0;
    counters.for_each(|_, _| names += 1);
    assert!(names >= 14);
}

#[test]
fn shrinking_releases_empty_slabs_and_sorts_the_rest() {
    let heap = plain();
    let cache = heap.cache(&alone("sorted", 1024));
    let objects: Vec<_> = (0..64 * 40).map(|_| heap.slubq.alloc_object(cache)).collect();
    // Leaves slab k with k % 8 objects.
    let mut kept = Vec::new();
    for &object in &objects {
        let page = heap.slubq.pages().head_of(object.addr()).unwrap();
        let (slab, index) = (page.address() >> 16, (object.addr() - page.address()) / 1024);
        if index < slab % 8 {
            kept.push(object);
        } else {
            // SAFETY: allocated above.
            unsafe { heap.slubq.free_object(cache, object) };
        }
    }
    let before = heap.slubq.cache_info(cache).slabs;
    let released = heap.slubq.shrink(cache);
    let info = heap.slubq.cache_info(cache);
    // Those without an object went back: some when they became empty, the rest now.
    assert!(info.slabs <= 36 && info.slabs + released == before, "{released} of {before} released, {info:?}");
    assert_eq!((info.queued, info.shared), (0, 0));
    assert_eq!(heap.slubq.live_objects(cache), kept.len());
    heap.slubq.check().unwrap();
    // The next object comes from one of the fullest slabs: they are sorted in steps.
    let next = heap.slubq.alloc_object(cache);
    let page = heap.slubq.pages().head_of(next.addr()).unwrap();
    assert!((page.address() >> 16) % 8 >= 6);
    kept.push(next);
    // SAFETY: allocated above.
    kept.into_iter().for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
    heap.destroy(cache).unwrap();
}

#[test]
fn what_nobody_touches_decays() {
    let heap = plain();
    let cache = heap.cache(&alone("idle", 256));
    let objects: Vec<_> = (0..20_000).map(|_| heap.slubq.alloc_object(cache)).collect();
    // SAFETY: allocated above.
    objects.into_iter().for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
    let info = heap.slubq.cache_info(cache);
    assert!(info.queued > 0 && info.shared > 0, "{info:?}");
    for _ in 0..6 {
        heap.slubq.decay();
    }
    let info = heap.slubq.cache_info(cache);
    assert_eq!((info.queued, info.shared, info.slabs), (0, 0, 0), "{info:?}");
    assert_eq!(heap.slubq.page_stats().retained, 0);
    heap.slubq.check().unwrap();
}

#[test]
fn a_queue_in_use_does_not_decay() {
    let heap = plain();
    let cache = heap.cache(&alone("used", 256));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(heap.slubq.alloc_object(cache));
        heap.slubq.decay();
    }
    assert!(cache.counters().alloc_slab.load(Ordering::Relaxed) <= 4, "refilled once per CPU that this thread was on");
    // SAFETY: allocated above.
    held.into_iter().for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
}

#[test]
fn slabs_tell_who_must_do_what() {
    let geometry = Geometry::new(1024);
    let page = Page::new();
    assert_eq!(page.kind(), Kind::Free);
    // SAFETY: the bits of this geometry are in the descriptor, and no object is touched.
    let slab = unsafe { Slab::new(&page, &geometry) };
    slab.fill();
    let mut objects = [std::ptr::null_mut(); 64];
    let (taken, left) = slab.take(&mut objects);
    assert_eq!((taken, left.free()), (64, 0));
    assert_eq!(slab.put(&objects[..1]), Ok(Duty::List));
    assert_eq!(slab.put(&objects[1..2]), Ok(Duty::None), "somebody else is about to list it");
    slab.mark_listed();
    assert_eq!(slab.put(&objects[2..]), Ok(Duty::Reconsider));
    assert!(!slab.is_empty(), "marked: not to be released by anybody else");
    slab.unmark();
    assert!(slab.is_empty() && slab.check());
    assert_eq!(slab.put(&objects[5..6]), Err((Fault::DoubleFree, objects[5])));
}

#[test]
fn a_batch_ends_where_a_cache_line_does() {
    for size in [344, 400, 416, 448] {
        let geometry = Geometry::new(size);
        let page = Page::new();
        // SAFETY: as above.
        let slab = unsafe { Slab::new(&page, &geometry) };
        slab.fill();
        let mut objects = [std::ptr::null_mut::<u8>(); 61];
        let (taken, _) = slab.take(&mut objects);
        assert!(taken > 50 && (taken * size).is_multiple_of(64), "{taken} objects of {size}");
    }
}

#[test]
fn decay_can_be_turned_off_and_on_again() {
    let heap = plain();
    let knobs = heap.slubq.knobs();
    let set = |ms| {
        knobs.set(Knob::DecayMs, ms).unwrap();
        heap.slubq.apply_knobs();
    };
    let swing = |count: usize| {
        let objects: Vec<_> = (0..count).map(|_| heap.slubq.alloc(kmem_base::classes::Class::of(256))).collect();
        // SAFETY: allocated above.
        objects.into_iter().for_each(|object| unsafe { heap.slubq.free(kmem_base::classes::Class::of(256), object) });
    };
    set(0);
    swing(50_000);
    let retained = heap.slubq.retained();
    set(5);
    for _ in 0..200 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        swing(400);
        let now = heap.slubq.retained();
        if now.pages * 4 < retained.pages + retained.depots && now.depots == 0 {
            return;
        }
    }
    panic!("{retained:?} has become {:?}", heap.slubq.retained());
}

#[test]
fn a_depot_gives_up_what_was_idle_and_no_more() {
    let heap = Heap::new(&configurations()[0].1.with(Knob::StashKb, 0).with(Knob::DepotKb, 1024));
    let cache = heap.cache(&alone("depot", 512));
    let objects: Vec<_> = (0..63 * 20).map(|_| heap.slubq.alloc_object(cache)).collect();
    // SAFETY: allocated above.
    objects.iter().for_each(|&object| unsafe { heap.slubq.free_object(cache, object) });
    let full = heap.slubq.cache_info(cache).shared / 63;
    assert!(full > 8, "{full} sheaves");
    heap.slubq.decay();
    // Uses half of them, so that the other half was idle.
    let used: Vec<_> = (0..63 * full / 2).map(|_| heap.slubq.alloc_object(cache)).collect();
    // SAFETY: allocated above.
    used.into_iter().for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
    heap.slubq.decay();
    let left = heap.slubq.cache_info(cache).shared / 63;
    assert!(0 < left && left < full, "{left} of {full}");
}

#[test]
fn a_cache_with_little_memory_keeps_nothing() {
    let heap = plain();
    let cache = heap.cache(&Spec::new("low", 100, 8).with(Flags::LOWMEM | Flags::NO_MERGE));
    let objects: Vec<_> = (0..10_000).map(|_| heap.slubq.alloc_object(cache)).collect();
    // SAFETY: allocated above.
    objects.into_iter().for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
    let (info, cpus) = (heap.slubq.cache_info(cache), heap.slubq.percpu().cpus() as usize);
    assert!(info.queued <= 6 * cpus && info.shared == 0, "{info:?}");
    // Each object in a queue may keep a slab, and a thread that was moved leaves one on the shard of each CPU that it has been to.
    assert!(info.slabs <= info.queued + cpus, "{info:?}");
}

#[test]
fn what_must_not_wait_refills_whole_sheaves_and_asks_the_system_for_nothing() {
    let heap = plain();
    let cache = heap.cache(&alone("nowait", 64));
    assert!(heap.slubq.alloc_nowait(cache).is_null(), "there is no slab yet, and making one would be a call");
    // Partial slabs, and empty sheaves at hand.
    let objects: Vec<_> = (0..1000).map(|_| heap.slubq.alloc_object(cache)).collect();
    let (kept, freed) = objects.split_at(10);
    // SAFETY: allocated above.
    freed.iter().for_each(|&object| unsafe { heap.slubq.free_object(cache, object) });
    heap.slubq.expire(cache, Level::Queues);
    heap.source.plan(kmem_base::source::Plan::From(0));
    let refills = cache.counters().alloc_slab.load(Ordering::Relaxed);
    let got: Vec<_> = std::iter::from_fn(|| Some(heap.slubq.alloc_nowait(cache)).filter(|object| !object.is_null())).collect();
    assert_eq!(heap.source.calls(), 0);
    assert!(got.len() >= freed.len(), "{} of {}", got.len(), freed.len());
    let refills = cache.counters().alloc_slab.load(Ordering::Relaxed) - refills;
    assert!((1..=20).contains(&refills), "{refills} refills for {} objects", got.len());
    heap.source.plan(kmem_base::source::Plan::Never);
    // SAFETY: allocated above.
    got.iter().chain(kept).for_each(|&object| unsafe { heap.slubq.free_object(cache, object) });
    heap.destroy(cache).unwrap();
}
