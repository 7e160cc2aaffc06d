//! Destructors that unwind out of an operation which has more to do, and that use the allocator themselves.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_slab::{Front, RawCache, Slab, Spec};
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    assert!(context.fuse.fetch_sub(1, Ordering::Relaxed) != 1, "the fuse is blown");
}

fn heap() -> Heap {
    // Two rows of one node, whatever the machine has.
    Heap::new(&Settings::new().with(Knob::ArenaMb, 1024).with(Knob::Cpus, 2).with(Knob::DecayMs, 0))
}

/// A cache of objects of 4 KiB, of which 15 or 16 are in a slab.
fn cache(heap: &Heap, front: Front, other: bool) -> (&'static RawCache, &'static Context) {
    let other = other.then(|| (heap.slab, heap.cache(64, kmem_slab::Flags::NONE)));
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
        works_as_before(&heap, cache);
    }
}
