//! What the reaper must not overlook, and what it must not take.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_slab::Flags;

/// One locked row; passes by hand alone.
fn heap(magazines: bool) -> Heap {
    let settings = Settings::new().with(Knob::ArenaMb, 1024).with(Knob::PerCpu, 1).with(Knob::Cpus, 2);
    on_cpu(Some(0));
    Heap::new(&settings.with(Knob::Front, u64::from(magazines)).with(Knob::DecayMs, 0))
}

#[test]
fn objects_freed_without_a_slow_path_are_reaped_too() {
    for magazines in [false, true] {
        let heap = heap(magazines);
        let cache = heap.cache(16_000, Flags::NONE);
        // Every object of every slab and array is in use, and passes find nothing.
        let mut held = heap.alloc_many(cache, 12);
        while heap.slab.cache_info(cache).live() < heap.slab.cache_info(cache).objects {
            held.append(&mut heap.alloc_many(cache, 1));
        }
        (0..10).for_each(|_| _ = heap.slab.reap_tick());
        heap.free_all(cache, held);
        (0..60).for_each(|_| _ = heap.slab.reap_tick());
        let info = heap.slab.cache_info(cache);
        assert_eq!((info.queued, info.slabs()), (0, 0), "magazines {magazines}: {info:?}");
        assert_eq!(heap.slab.reap_tick().caches, 0, "and then the cache is left alone");
    }
}

#[test]
fn slabs_freed_in_bulk_are_reaped_too() {
    let heap = heap(false);
    let cache = heap.cache(1000, Flags::NONE);
    let mut held = heap.alloc_many(cache, 500);
    while heap.slab.cache_info(cache).live() < heap.slab.cache_info(cache).objects {
        held.append(&mut heap.alloc_many(cache, 1));
    }
    (0..10).for_each(|_| _ = heap.slab.reap_tick());
    // SAFETY: allocated above.
    unsafe { heap.slab.free_bulk(cache, &held) };
    (0..300).for_each(|_| _ = heap.slab.reap_tick());
    assert_eq!(heap.slab.cache_info(cache).slabs(), 0);
}

#[test]
fn magazines_that_were_needed_stay_beside_empty_ones_that_were_not() {
    let heap = heap(true);
    let cache = heap.cache(64, Flags::NONE);
    let half = heap.alloc_many(cache, 150);
    heap.free_all(cache, heap.alloc_many(cache, 150));
    let rest = heap.alloc_many(cache, 150);
    heap.free_all(cache, half);
    // Two looks at the depot: the first begins an interval.
    (0..4).for_each(|_| _ = heap.slab.reap_tick());
    let needed = heap.slab.cache_info(cache).shared;
    let all = heap.alloc_many(cache, 200);
    heap.free_all(cache, all);
    let before = heap.slab.cache_info(cache).shared;
    assert!(before > 0, "{needed}");
    (0..2).for_each(|_| _ = heap.slab.reap_tick());
    assert_eq!(heap.slab.cache_info(cache).shared, before, "each of these was used since the last look");
    heap.free_all(cache, rest);
}
