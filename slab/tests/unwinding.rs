//! Destructors that unwind out of an operation which has more to do, and that use the allocator themselves.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_slab::{DebugError, Flags, Front, Mempool, RawCache, Slab, Spec};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

const FRONTS: [Front; 2] = [Front::Arrays, Front::Magazines];

/// What a destructor does.
struct Context {
    /// Calls until one unwinds; 0: none will.
    fuse: AtomicI64,
    /// A cache that is used, and a heap that is reaped, in each call.
    other: Option<(&'static Slab, &'static RawCache)>,
    calls: AtomicU32,
}

/// # Safety
/// `context` is a leaked `Context`.
unsafe fn destroy(_object: *mut u8, context: *mut ()) {
    // SAFETY: the caller's.
    let context = unsafe { &*context.cast::<Context>() };
    context.calls.fetch_add(1, Ordering::Relaxed);
    if let Some((slab, cache)) = context.other {
        let objects: Vec<_> = (0..200).filter_map(|_| NonNull::new(slab.alloc_object(cache))).collect();
        // SAFETY: just allocated.
        objects.into_iter().for_each(|object| unsafe { slab.free_object(cache, object.as_ptr()) });
        slab.reap_tick();
        slab.shrink(cache);
    }
    blow(&context.fuse);
}

/// Unwinds, without a word, if it is time.
fn blow(fuse: &AtomicI64) {
    if fuse.fetch_sub(1, Ordering::Relaxed) == 1 {
        resume_unwind(Box::new("the fuse is blown"));
    }
}

fn heap() -> Heap {
    // Two rows of one node, whatever the machine has.
    Heap::new(&Settings::new().with(Knob::ArenaMb, 1024).with(Knob::Cpus, 2).with(Knob::DecayMs, 0))
}

/// A cache of objects of 4 KiB, of which 15 or 16 are in a slab.
fn cache(heap: &Heap, front: Front, other: bool) -> (&'static RawCache, &'static Context) {
    let other = other.then(|| (heap.slab, heap.cache(64, Flags::NONE)));
    let context: &'static Context = Box::leak(Box::new(Context { fuse: AtomicI64::new(0), other, calls: AtomicU32::new(0) }));
    let spec = Spec::new("fused", 4096, 8).behind(front);
    // SAFETY: the context is leaked, and atomic.
    let spec = unsafe { spec.constructed(None, Some(destroy), std::ptr::from_ref(context).cast_mut().cast()) };
    (heap.slab.create(&spec).unwrap(), context)
}

/// Objects come and go, through arrays again, and everything goes back.
fn works_as_before(heap: &Heap, cache: &'static RawCache) {
    heap.slab.check().unwrap();
    assert_eq!(heap.slab.live_objects(cache), 0);
    heap.free_all(cache, heap.alloc_many(cache, 40));
    assert!(heap.slab.cache_info(cache).queued > 0, "the cache has arrays");
    heap.slab.check().unwrap();
    heap.destroy(cache).unwrap();
}

fn unwinds(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "the destructor did not unwind");
}

#[test]
fn a_drain_that_empties_a_slab_too_many_is_finished() {
    for front in FRONTS {
        let heap = heap();
        let (cache, context) = cache(&heap, front, false);
        // So many in arrays that draining them empties more slabs than may be kept.
        heap.slab.tune(cache, 300, 1, 1).unwrap();
        heap.free_all(cache, heap.alloc_many(cache, 300));
        context.fuse.store(3, Ordering::Relaxed);
        unwinds(|| _ = heap.slab.shrink(cache));
        works_as_before(&heap, cache);
    }
}

#[test]
fn tuning_that_empties_a_slab_too_many_is_done() {
    for front in FRONTS {
        let heap = heap();
        let (cache, context) = cache(&heap, front, false);
        heap.slab.tune(cache, 300, 1, 1).unwrap();
        heap.free_all(cache, heap.alloc_many(cache, 300));
        context.fuse.store(3, Ordering::Relaxed);
        unwinds(|| heap.slab.tune(cache, 8, 4, 1).unwrap());
        assert_eq!(heap.slab.row(cache).limit, 8);
        works_as_before(&heap, cache);
    }
}

#[test]
fn a_pass_of_the_reaper_that_empties_a_slab_too_many_leaves_the_arrays_where_they_were() {
    for front in FRONTS {
        let heap = heap();
        let (cache, context) = cache(&heap, front, false);
        heap.slab.tune(cache, 300, 1, 1).unwrap();
        heap.free_all(cache, heap.alloc_many(cache, 300));
        heap.slab.reap_tick();
        context.fuse.store(3, Ordering::Relaxed);
        unwinds(|| (0..20).for_each(|_| _ = heap.slab.reap_tick()));
        assert!(heap.slab.reap_tick() != kmem_slab::Reaped::default(), "the pass is over, and others can follow");
        works_as_before(&heap, cache);
    }
}

#[test]
fn a_destructor_may_use_the_allocator_whatever_runs_it() {
    for front in FRONTS {
        let heap = heap();
        let (cache, context) = cache(&heap, front, true);
        let calls = || context.calls.swap(0, Ordering::Relaxed);
        heap.slab.tune(cache, 300, 1, 1).unwrap();
        heap.free_all(cache, heap.alloc_many(cache, 300));
        heap.slab.tune(cache, 8, 1, 1).unwrap();
        assert_ne!(calls(), 0, "slabs went as the arrays were drained");
        heap.free_all(cache, heap.alloc_many(cache, 200));
        (0..50).for_each(|_| _ = heap.slab.reap_tick());
        assert_ne!(calls(), 0, "or reaped");
        heap.free_all(cache, heap.alloc_many(cache, 200));
        heap.slab.shrink(cache);
        assert_ne!(calls(), 0, "or given up");
        // A destructor that reaps empties arrays, too: from here on none is called.
        heap.slab.tune(cache, 100, 50, 1).unwrap();
        works_as_before(&heap, cache);
    }
}

/// Frees each object on its own, and goes on with the next if a destructor unwinds. Returns how many did.
fn free_each(heap: &Heap, cache: &'static RawCache, objects: Vec<*mut u8>) -> usize {
    let unwound = |object| catch_unwind(AssertUnwindSafe(|| heap.free_here(cache, object))).is_err();
    objects.into_iter().map(unwound).filter(|unwound| *unwound).count()
}

#[test]
fn a_free_that_empties_a_slab_too_many_has_freed() {
    for front in FRONTS {
        let heap = heap();
        let (cache, context) = cache(&heap, front, false);
        heap.slab.tune(cache, 8, 4, 0).unwrap();
        for fuse in 1..60 {
            let objects = heap.alloc_many(cache, 200);
            context.fuse.store(fuse, Ordering::Relaxed);
            assert_eq!(free_each(&heap, cache, objects), 1);
            assert_eq!(heap.slab.live_objects(cache), 0, "{front:?}, {fuse}");
        }
        works_as_before(&heap, cache);
    }
}

#[test]
fn a_free_that_sends_an_alien_array_home_has_freed() {
    let heap = Heap::new(&Settings::new().with(Knob::Nodes, 2).with(Knob::Cpus, 4).with(Knob::PerCpu, 1).with(Knob::DecayMs, 0));
    let (cache, context) = cache(&heap, Front::Arrays, false);
    for fuse in 1..60 {
        on_cpu(Some(0));
        let objects = heap.alloc_many(cache, 200);
        on_cpu(Some(1));
        context.fuse.store(fuse, Ordering::Relaxed);
        assert_eq!(free_each(&heap, cache, objects), 1);
        assert_eq!(heap.slab.live_objects(cache), 0, "{fuse}");
    }
    on_cpu(Some(0));
    works_as_before(&heap, cache);
}

#[test]
fn a_bulk_free_in_a_checked_cache_has_freed_as_checks_want_it() {
    let heap = heap();
    let (cache, context) = cache(&heap, Front::Arrays, false);
    heap.slab.set_debug(cache, Flags::DEBUG).unwrap();
    let objects = heap.alloc_many(cache, 200);
    context.fuse.store(3, Ordering::Relaxed);
    // SAFETY: allocated above.
    unwinds(|| unsafe { heap.slab.free_bulk(cache, &objects) });
    assert_eq!(heap.slab.live_objects(cache), 0);
    heap.slab.verify(cache).unwrap();
    heap.free_all(cache, heap.alloc_many(cache, 200));
    heap.destroy(cache).unwrap();
}

#[test]
fn a_bulk_allocation_in_a_checked_cache_gives_back_as_checks_want_it() {
    /// # Safety
    /// `context` is a leaked `AtomicI64`.
    unsafe fn construct(_object: *mut u8, context: *mut ()) {
        // SAFETY: the caller's.
        let fuse = unsafe { &*context.cast::<AtomicI64>() };
        blow(fuse);
    }
    let heap = heap();
    let fuse: &'static AtomicI64 = Box::leak(Box::new(AtomicI64::new(100)));
    let spec = Spec::new("fused", 4096, 8).with(Flags::DEBUG);
    // SAFETY: the context is leaked, and atomic.
    let spec = unsafe { spec.constructed(Some(construct), None, std::ptr::from_ref(fuse).cast_mut().cast()) };
    let cache = heap.slab.create(&spec).unwrap();
    unwinds(|| _ = heap.slab.alloc_bulk(cache, &mut [std::ptr::null_mut(); 200]));
    assert_eq!(heap.slab.live_objects(cache), 0);
    heap.slab.verify(cache).unwrap();
    heap.free_all(cache, heap.alloc_many(cache, 200));
    heap.destroy(cache).unwrap();
}

#[test]
fn a_switch_of_checks_that_gives_up_a_slab_leaves_the_cache_its_arrays() {
    for front in FRONTS {
        let heap = heap();
        let (cache, context) = cache(&heap, front, false);
        heap.slab.tune(cache, 300, 1, 1).unwrap();
        heap.free_all(cache, heap.alloc_many(cache, 300));
        context.fuse.store(3, Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| heap.slab.set_debug(cache, Flags::DEBUG)));
        assert!(result.is_err() || matches!(result, Ok(Err(DebugError::InUse))));
        context.fuse.store(0, Ordering::Relaxed);
        assert_eq!(heap.slab.row(cache).limit, 300);
        works_as_before(&heap, cache);
    }
}

#[test]
fn a_pool_that_goes_gives_everything_back() {
    for front in FRONTS {
        let heap = heap();
        let (cache, context) = cache(&heap, front, false);
        heap.slab.tune(cache, 8, 4, 0).unwrap();
        let mut used = 0;
        for round in 0..40 {
            let pool = Mempool::new(heap.slab, cache, 1000).unwrap();
            assert_eq!(heap.slab.live_objects(cache), 1000);
            context.fuse.store(3, Ordering::Relaxed);
            unwinds(|| drop(pool));
            context.fuse.store(0, Ordering::Relaxed);
            assert_eq!(heap.slab.live_objects(cache), 0);
            heap.slab.shrink(cache);
            if round == 0 {
                used = heap.slab.pages().used();
            }
        }
        assert_eq!(heap.slab.pages().used(), used, "nor is the reserve's own memory lost");
        works_as_before(&heap, cache);
    }
}
