//! That a walk over the invariants notices damage, each kind by its name. One CPU, locked rows.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::pages::Page;
use kmem_base::percpu::on_cpu;
use kmem_base::sync::Ordering;
use kmem_slab::{Broken, Flags, RawCache};

fn heap() -> Heap {
    on_cpu(Some(0));
    Heap::new(&Settings::new().with(Knob::ArenaMb, 64).with(Knob::PerCpu, 1).with(Knob::Cpus, 1).with(Knob::DecayMs, 0))
}

/// A cache with a partial slab, and objects in use of it.
fn ground(heap: &Heap) -> (&'static RawCache, Vec<*mut u8>, &'static Page) {
    let cache = heap.cache(64, Flags::NONE);
    let objects = heap.alloc_many(cache, 50);
    let page = heap.slab.pages().head_of(objects[0].addr()).unwrap();
    heap.slab.check().unwrap();
    (cache, objects, page)
}

#[test]
fn a_slab_on_a_list_that_is_not_its_own_is_noticed() {
    let heap = heap();
    let (cache, objects, page) = ground(&heap);
    let home = page.home.swap(1, Ordering::Relaxed);
    assert_eq!(heap.slab.check(), Err(Broken::Shelf), "another node's");
    page.home.store(home, Ordering::Relaxed);
    let owner = page.owner();
    page.set_owner(std::ptr::null_mut());
    assert_eq!(heap.slab.check(), Err(Broken::Shelf), "another cache's");
    page.set_owner(owner);
    let shelf = page.seen.fetch_add(1, Ordering::Relaxed);
    assert_eq!(heap.slab.check(), Err(Broken::Shelf), "it says that it is on another list");
    page.seen.store(shelf, Ordering::Relaxed);
    // The lower half is how many are out: none, and all.
    let state = page.state.load(Ordering::Relaxed);
    for out in [0, cache.geometry().objects] {
        page.state.store(state & !0xFFFF | out, Ordering::Relaxed);
        assert_eq!(heap.slab.check(), Err(Broken::Shelf), "with {out} out it belongs on another");
    }
    page.state.store(state, Ordering::Relaxed);
    heap.slab.check().unwrap();
    heap.free_all(cache, objects);
}

#[test]
fn a_slab_whose_free_objects_are_wrong_is_noticed() {
    let heap = heap();
    let (cache, objects, page) = ground(&heap);
    let first = page.bits[1].fetch_add(8, Ordering::Relaxed);
    assert_eq!(heap.slab.check(), Err(Broken::Freelist), "no colour there is");
    page.bits[1].store(first, Ordering::Relaxed);
    page.bits[0].fetch_add(8, Ordering::Relaxed);
    assert_eq!(heap.slab.check(), Err(Broken::Freelist), "the list is not where it should be");
    page.bits[0].fetch_sub(8, Ordering::Relaxed);
    // The upper half is how many places of the list have ever been written: as many as are out at least, and as there are at most.
    let (state, objects_in_all) = (page.state.load(Ordering::Relaxed), cache.geometry().objects);
    let out = state & 0xFFFF;
    for (out, written) in [(out, out - 1), (out, objects_in_all + 1), (objects_in_all + 1, objects_in_all + 1)] {
        page.state.store(written << 16 | out, Ordering::Relaxed);
        assert_eq!(heap.slab.check(), Err(Broken::Freelist), "{out} out, {written} written");
    }
    page.state.store(state + 1, Ordering::Relaxed);
    assert!(heap.slab.check().is_err(), "one more out than there is");
    page.state.store(state, Ordering::Relaxed);
    heap.slab.check().unwrap();
    heap.free_all(cache, objects);
}

#[test]
fn an_object_that_is_queued_twice_is_noticed() {
    let heap = heap();
    let (cache, mut objects, _) = ground(&heap);
    let (first, held) = (objects[0], objects.pop());
    heap.free_all(cache, objects);
    heap.free_all(cache, [first]);
    let found = heap.slab.check();
    assert_eq!(heap.slab.alloc_object(cache), first);
    assert_eq!(found, Err(Broken::Queued));
    heap.slab.check().unwrap();
    // With nothing in use there are more than there can be.
    heap.free_all(cache, held);
    heap.free_all(cache, [first]);
    let found = heap.slab.check();
    assert_eq!(heap.slab.alloc_object(cache), first);
    assert_eq!(found, Err(Broken::Conservation));
    heap.slab.check().unwrap();
}
