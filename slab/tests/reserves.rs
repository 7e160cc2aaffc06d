//! Mempools, and type-stable caches.

mod common;

use common::Heap;
use kmem_base::knobs::Knob;
use kmem_slab::{Flags, Mempool};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// No more slabs for anybody.
fn no_memory(heap: &Heap) {
    heap.slab.knobs().set(Knob::LimitMb, 1).unwrap();
    heap.slab.apply_knobs();
}

#[test]
fn a_pool_serves_as_many_as_it_promised_when_there_is_no_memory() {
    let heap = Heap::with_front(false);
    let cache = heap.cache(4096, Flags::NONE);
    let pool = Mempool::new(heap.slab, cache, 20).unwrap();
    let filler = heap.cache(100_000, Flags::NONE);
    let fill: Vec<_> = (0..50).map(|_| heap.slab.alloc_object(filler)).collect();
    no_memory(&heap);
    for _ in 0..5 {
        // Whatever others take of the cache.
        let mut others = Vec::new();
        loop {
            let object = heap.slab.alloc_object(cache);
            if object.is_null() {
                break;
            }
            others.push(object);
        }
        let elements: Vec<_> = std::iter::from_fn(|| pool.alloc()).take(100).collect();
        assert_eq!((elements.len(), pool.available()), (20, 0));
        drop(elements);
        assert_eq!(pool.available(), 20, "the reserve is refilled first");
        heap.free_all(cache, others);
    }
    heap.free_all(filler, fill);
    drop(pool);
    heap.destroy(cache).unwrap();
}

#[test]
fn who_waits_gets_what_another_gives_back() {
    let heap = Heap::with_front(false);
    let cache = heap.cache(8192, Flags::NONE);
    let pool = Mempool::new(heap.slab, cache, 1).unwrap();
    no_memory(&heap);
    let others: Vec<_> = std::iter::from_fn(|| Some(heap.slab.alloc_object(cache)).filter(|object| !object.is_null())).collect();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let element = pool.alloc_wait();
                    // SAFETY: 8192 bytes, this element's alone.
                    unsafe { element.as_ptr().write_bytes(1, 8192) };
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), 200);
    heap.free_all(cache, others);
    drop(pool);
    heap.destroy(cache).unwrap();
}

#[test]
fn a_pool_that_cannot_be_filled_is_none_and_keeps_nothing() {
    let heap = Heap::with_front(false);
    let cache = heap.cache(4096, Flags::NONE);
    heap.slab.ready();
    no_memory(&heap);
    assert!(Mempool::new(heap.slab, cache, 5000).is_none());
    assert!(Mempool::new(heap.slab, cache, 0).is_none() && Mempool::new(heap.slab, cache, 9000).is_none());
    assert_eq!(heap.slab.live_objects(cache), 0);
    let stranger = Heap::with_front(false).cache(4096, Flags::NONE);
    assert!(Mempool::new(heap.slab, stranger, 1).is_none());
    heap.destroy(cache).unwrap();
}

#[test]
fn a_type_safe_slab_stays_while_somebody_reads() {
    let heap = Heap::with_front(false);
    let cache = heap.cache(512, Flags::TYPESAFE);
    let objects = heap.alloc_many(cache, 1000);
    let reader = heap.slab.pin();
    heap.free_all(cache, objects.iter().copied());
    heap.slab.shrink(cache);
    assert_eq!(heap.slab.cache_info(cache).slabs(), 0);
    let waiting = heap.slab.waiting_slabs();
    assert!(waiting >= 7);
    let used = heap.slab.pages().used();
    heap.slab.reap_tick();
    assert_eq!((heap.slab.waiting_slabs(), heap.slab.pages().used()), (waiting, used), "as long as it takes");
    // SAFETY: memory of the cache, since this thread is pinned.
    unsafe { objects[500].read_volatile() };
    drop(reader);
    heap.slab.synchronize();
    assert_eq!(heap.slab.waiting_slabs(), 0);
    assert!(heap.slab.pages().used() < used);
    heap.destroy(cache).unwrap();
}

#[test]
fn a_freed_object_is_used_again_at_once() {
    let heap = Heap::with_front(false);
    let cache = heap.cache(512, Flags::TYPESAFE);
    let _reader = heap.slab.pin();
    let object = heap.slab.alloc_object(cache);
    heap.free_all(cache, [object]);
    assert_eq!(heap.slab.alloc_object(cache), object);
    heap.free_all(cache, [object]);
}

#[test]
fn readers_find_objects_of_the_type_whoever_frees_them() {
    let heap = Heap::with_front(false);
    let cache = heap.cache(256, Flags::TYPESAFE);
    let (found, stop) = (std::sync::atomic::AtomicPtr::new(std::ptr::null_mut::<AtomicUsize>()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = || {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let _pinned = heap.slab.pin();
                let object = found.load(Ordering::Acquire);
                if !object.is_null() {
                    // SAFETY: pinned: still memory of the cache, whose objects begin with a word that is never anything else.
                    assert_eq!(unsafe { (*object).load(Ordering::Relaxed) } & 0xFFFF, 0xABCD);
                    reads += 1;
                }
            }
            assert!(reads > 0);
        };
        scope.spawn(reader);
        scope.spawn(reader);
        for round in 0..4000_usize {
            let object = heap.slab.alloc_object(cache).cast::<AtomicUsize>();
            // SAFETY: 256 bytes, ours; readers may still look at what it was.
            unsafe { (*object).store(round << 16 | 0xABCD, Ordering::Relaxed) };
            found.store(object, Ordering::Release);
            if round % 8 == 0 {
                std::thread::yield_now();
            }
            found.store(std::ptr::null_mut(), Ordering::Release);
            heap.free_all(cache, [object.cast()]);
            if round % 16 == 0 {
                // Everything is free: the slab goes, once nobody reads there.
                heap.slab.shrink(cache);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    heap.slab.synchronize();
    assert_eq!(heap.slab.waiting_slabs(), 0);
    heap.destroy(cache).unwrap();
}
