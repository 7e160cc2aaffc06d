//! Objects are constructed when their slab is made, keep their state while they are free, and are destroyed when it goes.

mod common;

use common::{Heap, read};
use kmem_slab::{Cache, Flags, Front, Spec};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    destroyed: AtomicUsize,
}

unsafe fn make(object: *mut u8, context: *mut ()) {
    // SAFETY: the tests' contexts are `Counts` that outlive their caches; objects are 64 bytes.
    unsafe {
        (*context.cast::<Counts>()).made.fetch_add(1, Ordering::Relaxed);
        object.write_bytes(0xC7, 64);
    }
}

unsafe fn destroy(object: *mut u8, context: *mut ()) {
    // SAFETY: as above.
    unsafe {
        (*context.cast::<Counts>()).destroyed.fetch_add(1, Ordering::Relaxed);
        assert_eq!(*object, 0xC7, "destroyed as it was left");
    }
}

fn counted(heap: &Heap, counts: &Counts, front: Front, flags: Flags) -> &'static kmem_slab::RawCache {
    let spec = Spec::new("counted", 64, 8).behind(front).with(flags);
    let context = std::ptr::from_ref(counts).cast_mut().cast();
    // SAFETY: the counts outlive the cache, and are shared by atomics.
    heap.slab.create(&unsafe { spec.constructed(Some(make), Some(destroy), context) }).unwrap()
}

#[test]
fn once_per_object_whatever_is_allocated_and_freed() {
    for (front, flags) in [(Front::Arrays, Flags::NONE), (Front::Magazines, Flags::NONE), (Front::Arrays, Flags::DEBUG)] {
        let (heap, counts) = (Heap::with_front(false), Counts::default());
        let cache = counted(&heap, &counts, front, flags);
        let per_slab = cache.geometry().objects as usize;
        for round in 0..5 {
            let objects = heap.alloc_many(cache, per_slab + 10);
            // SAFETY: live objects of 64 bytes.
            let intact = |object: &*mut u8| unsafe { object.read() == 0xC7 && object.add(63).read() == 0xC7 };
            assert!(objects.iter().all(intact), "round {round}");
            heap.free_all(cache, objects);
        }
        let grown = read(&cache.counters().grown) as usize;
        assert_eq!(counts.made.load(Ordering::Relaxed), grown * per_slab, "when their slab is made, all at once");
        heap.destroy(cache).unwrap();
        assert_eq!(counts.destroyed.load(Ordering::Relaxed), counts.made.load(Ordering::Relaxed));
    }
}

#[test]
fn an_object_comes_back_as_it_was_left() {
    let heap = Heap::with_front(false);
    let cache = Cache::builder("vectors").within(heap.slab).constructed(|| Vec::<u8>::with_capacity(100)).unwrap();
    let mut held: Vec<_> = (0..500).map(|_| cache.alloc().unwrap()).collect();
    assert!(held.iter().all(|vector| vector.is_empty() && vector.capacity() == 100));
    let addresses: HashSet<usize> = held.iter_mut().map(|vector| vector.as_ptr().addr()).collect();
    assert_eq!(addresses.len(), 500);
    drop(held);
    let again: Vec<_> = (0..500).map(|_| cache.alloc().unwrap()).collect();
    assert!(
        again.iter().filter(|vector| addresses.contains(&vector.as_ptr().addr())).count() > 400,
        "their buffers are still there"
    );
}

#[test]
fn what_the_constructor_made_is_dropped_with_the_cache() {
    let heap = Heap::with_front(true);
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let make = || {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        (Counted, [0_u64; 7])
    };
    let cache = Cache::builder("counted").within(heap.slab).constructed(make).unwrap();
    drop((0..100).map(|_| cache.alloc().unwrap()).collect::<Vec<_>>());
    assert!(ALIVE.load(Ordering::Relaxed) > 100);
    drop(cache);
    assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
}

#[test]
fn objects_of_values_are_dropped_when_they_go_back() {
    let heap = Heap::with_front(false);
    let cache = Cache::builder("arcs").within(heap.slab).plain().unwrap();
    let shared = Arc::new(5);
    let objects: Vec<_> = (0..50).map(|_| cache.insert(shared.clone()).unwrap()).collect();
    assert_eq!(Arc::strong_count(&shared), 51);
    drop(objects);
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn objects_move_between_threads() {
    let heap = Heap::with_front(false);
    let cache = Arc::new(Cache::builder("shared").within(heap.slab).constructed(|| [7_u64; 8]).unwrap());
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let there = cache.clone();
        let cache = &*cache;
        scope.spawn(move || (0..5000).for_each(|_| sender.send(cache.alloc().unwrap()).unwrap()));
        scope.spawn(move || {
            for object in receiver {
                assert_eq!(*object, [7; 8]);
            }
            there.raw().name().to_owned()
        });
    });
    assert_eq!(heap.slab.live_objects(cache.raw()), 0);
}

#[test]
fn a_cache_with_a_forgotten_object_says_so_and_stays() {
    let heap = Heap::with_front(false);
    let cache = Cache::builder("forgotten").within(heap.slab).flags(Flags::STORE_USER).constructed(|| 1_u32).unwrap();
    let address = std::ptr::from_ref(&*cache.alloc().unwrap()).addr();
    std::mem::forget(cache.alloc().unwrap());
    let line = line!() - 1;
    let refused = cache.destroy().unwrap_err();
    assert_eq!(refused.busy.live, 1);
    let live = refused.busy.some[0].unwrap();
    assert_eq!((live.object, live.last.unwrap().line()), (address, line), "which, and who used it last");
    assert!(refused.busy.to_string().starts_with("1 objects of the cache are in use\n"));
    assert_eq!(*refused.cache.alloc().unwrap(), 1, "the cache is as it was");
}

#[test]
fn a_constructor_that_panics_leaves_nothing_behind() {
    for front in [Front::Arrays, Front::Magazines] {
        let heap = Heap::with_front(false);
        static LEFT: AtomicUsize = AtomicUsize::new(0);
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        struct Fragile([u64; 4]);
        impl Drop for Fragile {
            fn drop(&mut self) {
                ALIVE.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let make = || {
            assert!(LEFT.fetch_sub(1, Ordering::Relaxed) != 1, "no more");
            ALIVE.fetch_add(1, Ordering::Relaxed);
            Fragile([3; 4])
        };
        LEFT.store(100, Ordering::Relaxed);
        let cache = Cache::builder("fragile").within(heap.slab).front(front).constructed(make).unwrap();
        let caught = std::panic::catch_unwind(|| cache.alloc().map(|object| object.0));
        assert!(caught.is_err());
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0, "those made before are destroyed");
        heap.slab.check().unwrap();
        assert_eq!(heap.slab.cache_info(cache.raw()).slabs(), 0);
        LEFT.store(usize::MAX, Ordering::Relaxed);
        assert_eq!(cache.alloc().unwrap().0, [3; 4]);
        drop(cache);
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_destructor_that_panics_loses_no_memory() {
    let heap = Heap::with_front(false);
    static BOMBS: AtomicUsize = AtomicUsize::new(0);
    struct Bomb(#[allow(dead_code)] [u64; 8]);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(BOMBS.fetch_sub(1, Ordering::Relaxed) != 5, "bang");
        }
    }
    let cache = Cache::builder("bombs").within(heap.slab).constructed(|| Bomb([0; 8])).unwrap();
    let objects = cache.raw().geometry().objects as usize;
    drop((0..3 * objects).map(|_| cache.alloc().unwrap()).collect::<Vec<_>>());
    BOMBS.store(objects, Ordering::Relaxed);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.shrink()));
    assert!(caught.is_err());
    heap.slab.check().unwrap();
    BOMBS.store(usize::MAX, Ordering::Relaxed);
    cache.shrink();
    assert_eq!(heap.slab.cache_info(cache.raw()).slabs(), 0);
}

#[test]
fn a_destructor_may_use_the_allocator_whatever_made_its_slab_go() {
    static HEAP: std::sync::OnceLock<Heap> = std::sync::OnceLock::new();
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Busy(#[allow(dead_code)] u64);
    impl Drop for Busy {
        fn drop(&mut self) {
            let heap = HEAP.get().unwrap();
            if DROPPED.fetch_add(1, Ordering::Relaxed).is_multiple_of(100) {
                let other = heap.cache(32, Flags::NONE);
                heap.free_all(other, heap.alloc_many(other, 10));
                heap.slab.reap_tick();
                heap.destroy(other).unwrap();
            }
        }
    }
    let heap = HEAP.get_or_init(|| Heap::with_front(false));
    let cache = Cache::builder("busy").within(heap.slab).constructed(|| Busy(1)).unwrap();
    let use_and_leave = |count: usize| drop((0..count).map(|_| cache.alloc().unwrap()).collect::<Vec<_>>());
    let slab = cache.raw().geometry().objects as usize;
    use_and_leave(5 * slab);
    cache.shrink();
    use_and_leave(5 * slab);
    (0..50).for_each(|_| assert!(heap.slab.reap_tick().caches < 100));
    use_and_leave(5 * slab);
    heap.slab.tune(cache.raw(), 10, 5, 1).unwrap();
    drop(cache);
    assert!(DROPPED.load(Ordering::Relaxed) >= 9 * slab);
    heap.slab.check().unwrap();
}
