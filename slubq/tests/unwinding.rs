//! Destructors that unwind out of an operation which has more to do: nothing of the rest is lost.

#![cfg(not(loom))]

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_slubq::{Cache, Spec};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};

/// Calls of the destructor until one unwinds.
struct Fuse(AtomicI64);

/// # Safety
/// `context` is a leaked `Fuse`.
unsafe fn blow(_object: *mut u8, context: *mut ()) {
    // SAFETY: the caller's.
    let left = unsafe { (*context.cast::<Fuse>()).0.fetch_sub(1, Ordering::Relaxed) };
    assert!(left != 1, "the fuse is blown");
}

fn heap() -> Heap {
    // One shard, so that surplus slabs are surplus wherever this thread runs.
    Heap::new(&Settings::new().with(Knob::ArenaMb, 1024).with(Knob::Shards, 1))
}

/// A cache of 16 objects per slab whose destructor unwinds once, when `calls` objects have gone.
fn cache(heap: &Heap) -> (&'static Cache, &'static Fuse) {
    let fuse: &'static Fuse = Box::leak(Box::new(Fuse(AtomicI64::new(0))));
    let context = std::ptr::from_ref(fuse).cast_mut().cast();
    // SAFETY: the fuse is leaked, and atomic.
    (heap.cache(&unsafe { Spec::new("fused", 4096, 8).constructed(None, Some(blow), context) }), fuse)
}

fn objects(heap: &Heap, cache: &Cache, count: usize) -> Vec<*mut u8> {
    let mut objects = vec![std::ptr::null_mut(); count];
    assert_eq!(heap.slubq.alloc_bulk(cache, &mut objects), count);
    objects
}

fn unwinds(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "the destructor did not unwind");
}

#[test]
fn empty_slabs_not_released_yet_stay_with_the_cache() {
    let heap = heap();
    let (cache, fuse) = cache(&heap);
    let objects = objects(&heap, cache, 16 * 8);
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_bulk(cache, &objects) };
    fuse.0.store(20, Ordering::Relaxed);
    unwinds(|| _ = heap.slubq.shrink(cache));
    heap.slubq.check().unwrap();
    assert_eq!(heap.slubq.live_objects(cache), 0);
    assert!(heap.slubq.cache_info(cache).slabs > 0, "there was more to release than the slab that unwound");
    heap.destroy(cache).unwrap();
}

#[test]
fn a_bulk_free_that_unwinds_frees_everything() {
    let heap = heap();
    let (cache, fuse) = cache(&heap);
    let objects = objects(&heap, cache, 16 * 40);
    fuse.0.store(1, Ordering::Relaxed);
    let mut unwound = 0;
    // Short of a sheaf each, so that each goes through the queue, and some call finds surplus slabs.
    for some in objects.chunks(25) {
        let live = heap.slubq.live_objects(cache);
        // SAFETY: allocated above.
        unwound += usize::from(catch_unwind(AssertUnwindSafe(|| unsafe { heap.slubq.free_bulk(cache, some) })).is_err());
        assert_eq!(heap.slubq.live_objects(cache), live - some.len());
    }
    assert_eq!(unwound, 1);
    heap.slubq.check().unwrap();
}

#[test]
fn a_cache_that_could_not_be_destroyed_is_as_before() {
    let heap = heap();
    let (cache, fuse) = cache(&heap);
    let held = objects(&heap, cache, 100);
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_bulk(cache, &held) };
    fuse.0.store(1, Ordering::Relaxed);
    unwinds(|| heap.destroy(cache).unwrap());
    let held = objects(&heap, cache, 100);
    assert_eq!(heap.destroy(cache).unwrap_err().live, 100);
    // SAFETY: allocated above.
    unsafe { heap.slubq.free_bulk(cache, &held) };
    let before = heap.slubq.pages().stats().used;
    heap.destroy(cache).unwrap();
    assert!(heap.slubq.pages().stats().used < before);
    heap.slubq.check().unwrap();
}
