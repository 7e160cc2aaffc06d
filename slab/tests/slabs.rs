//! Geometry, lists, colours, bulk operations: what lies where.

mod common;

use common::{Heap, read};
use kmem_base::classes::{CLASSES, Class};
use kmem_base::knobs::{Knob, Settings};
use kmem_slab::geometry::Placement;
use kmem_slab::{Flags, Front, Spec};
use std::collections::BTreeSet;

/// Without arrays, so that what is freed is in its slab at once.
fn bare() -> Heap {
    Heap::new(&Settings::new().with(Knob::ArenaMb, 1024).with(Knob::Queues, 0))
}

#[test]
fn general_objects_are_aligned_to_what_divides_their_size() {
    for magazines in [false, true] {
        let heap = Heap::with_front(magazines);
        for index in 0..CLASSES {
            let class = Class::from_index(index);
            let align = 1_usize << class.size().trailing_zeros();
            let objects: Vec<_> = (0..40).map(|_| heap.slab.alloc(class)).collect();
            assert!(objects.iter().all(|object| !object.is_null() && object.addr().is_multiple_of(align)), "{}", class.size());
            // SAFETY: just allocated with that class.
            objects.into_iter().for_each(|object| unsafe { heap.slab.free(class, object) });
        }
        heap.slab.check().unwrap();
    }
}

#[test]
fn first_objects_of_slabs_have_every_colour_in_turn() {
    let heap = bare();
    // 65536 = 65 x 1000 + 536: eight lines are left over behind the objects.
    let cache = heap.cache(1000, Flags::NONE);
    let geometry = *cache.geometry();
    assert_eq!((geometry.objects, geometry.left_over, geometry.colours, geometry.colour_off), (65, 536, 8, 64));
    let slabs = 2 * geometry.colours as usize;
    let objects = heap.alloc_many(cache, slabs * geometry.objects as usize);
    let mut colours = vec![0; geometry.colours as usize];
    for object in objects.iter().filter(|object| object.addr() % 65_536 < 600) {
        assert!((object.addr() % 65_536).is_multiple_of(64));
        colours[object.addr() % 65_536 / 64] += 1;
    }
    assert_eq!(colours, vec![2; 8]);
    heap.free_all(cache, objects);
    heap.destroy(cache).unwrap();
}

#[test]
fn nothing_left_over_is_no_colour() {
    let heap = bare();
    let cache = heap.cache(4096, Flags::NONE);
    let objects = heap.alloc_many(cache, 64);
    assert!(objects.iter().all(|object| object.addr().is_multiple_of(4096)));
    heap.free_all(cache, objects);
}

#[test]
fn slabs_are_on_the_list_that_says_how_full_they_are() {
    let heap = bare();
    let cache = heap.cache(512, Flags::NONE);
    let per_slab = cache.geometry().objects as usize;
    let shelves = || {
        heap.slab.check().unwrap();
        let info = heap.slab.cache_info(cache);
        (info.full_slabs, info.partial_slabs, info.free_slabs)
    };
    let mut objects = heap.alloc_many(cache, per_slab);
    assert_eq!(shelves(), (1, 0, 0));
    objects.extend(heap.alloc_many(cache, 1));
    assert_eq!(shelves(), (1, 1, 0));
    heap.free_all(cache, objects.drain(..1));
    assert_eq!(shelves(), (0, 2, 0));
    heap.free_all(cache, [objects.pop().unwrap()]);
    assert_eq!(shelves(), (0, 1, 1), "a free slab is kept, as long as there are not too many free objects");
    heap.free_all(cache, objects);
    assert_eq!(heap.slab.shrink(cache), 1);
    assert_eq!(shelves(), (0, 0, 0));
}

#[test]
fn free_slabs_beyond_the_limit_go_at_once() {
    let heap = bare();
    let cache = heap.cache(512, Flags::NONE);
    let per_slab = cache.geometry().objects as usize;
    let objects = heap.alloc_many(cache, 10 * per_slab);
    heap.free_all(cache, objects);
    let info = heap.slab.cache_info(cache);
    assert!(info.free <= per_slab + 16 && info.free_slabs == 1, "{info:?}");
    assert_eq!(read(&cache.counters().reaped), 9);
}

#[test]
fn every_object_of_a_slab_is_handed_out_once_wherever_the_list_is() {
    let heap = bare();
    for (size, flags, placement) in
        [(64, Flags::NONE, Placement::OnSlab), (1024, Flags::NONE, Placement::Object), (4096, Flags::TYPESAFE, Placement::OffSlab)]
    {
        let cache = heap.cache(size, flags);
        assert_eq!(cache.geometry().placement, placement);
        let per_slab = cache.geometry().objects as usize;
        let mut held = heap.alloc_many(cache, per_slab);
        for round in 0..6 {
            // Everything written to, a part freed in another order, and taken again.
            // SAFETY: live objects of `size` bytes.
            held.iter().for_each(|object| unsafe { object.write_bytes(0xEE, size) });
            let part: Vec<_> = held.iter().copied().step_by(1 + round % 3).rev().collect();
            held.retain(|object| !part.contains(object));
            heap.free_all(cache, part.iter().copied());
            heap.slab.check().unwrap();
            held.extend(heap.alloc_many(cache, part.len()));
            assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), per_slab, "no object twice, none of another slab");
            assert_eq!(heap.slab.cache_info(cache).slabs(), 1);
        }
        heap.free_all(cache, held);
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn a_fresh_slab_touches_no_memory_for_its_list() {
    let heap = bare();
    // 8-byte objects: 6553 indices of two bytes, four OS pages of them.
    let cache = heap.cache(8, Flags::NONE);
    let objects = heap.alloc_many(cache, 10);
    let list = (objects[0].addr() & !0xFFFF) + 65_536 - cache.geometry().list_bytes();
    // SAFETY: inside the slab.
    let bytes = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(list), cache.geometry().list_bytes()) };
    assert!(bytes.iter().all(|byte| *byte == 0), "objects handed out for the first time need no list");
    heap.free_all(cache, objects);
    assert!(bytes.iter().any(|byte| *byte != 0));
}

#[test]
fn bulk_operations_serve_every_size_of_request() {
    for front in [Front::Arrays, Front::Magazines] {
        let heap = Heap::with_front(false);
        let cache = heap.slab.create(&Spec::new("bulk", 48, 8).behind(front)).unwrap();
        for count in [1, 2, 31, 32, 33, 500, 5000] {
            let mut objects = vec![std::ptr::null_mut(); count];
            assert_eq!(heap.slab.alloc_bulk(cache, &mut objects), count);
            assert_eq!(objects.iter().collect::<BTreeSet<_>>().len(), count);
            assert_eq!(heap.slab.live_objects(cache), count);
            // SAFETY: just allocated.
            unsafe { heap.slab.free_bulk(cache, &objects) };
            assert_eq!(heap.slab.live_objects(cache), 0);
            heap.slab.check().unwrap();
        }
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn after_shrink_nothing_is_kept_but_live_slabs() {
    for magazines in [false, true] {
        let heap = Heap::with_front(magazines);
        let cache = heap.cache(100, Flags::NONE);
        let mut objects = heap.alloc_many(cache, 50_000);
        let kept = objects.split_off(49_990);
        heap.free_all(cache, objects);
        heap.slab.shrink(cache);
        let info = heap.slab.cache_info(cache);
        assert_eq!((info.queued, info.shared, info.free_slabs, info.live()), (0, 0, 0, 10));
        assert_eq!(heap.slab.page_stats().retained, 0, "and free pages went back to the system");
        heap.free_all(cache, kept);
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn a_trim_leaves_nothing_wherever_lists_were() {
    for magazines in [false, true] {
        let heap = Heap::with_front(magazines);
        let cache = heap.cache(4096, Flags::TYPESAFE);
        assert_eq!(cache.geometry().placement, Placement::OffSlab);
        heap.free_all(cache, heap.alloc_many(cache, 1000));
        heap.slab.trim();
        heap.slab.for_each_cache(|cache| assert_eq!(heap.slab.cache_info(cache).slabs(), 0, "{}", cache.name()));
    }
}

#[test]
fn debugging_is_switched_before_first_use_and_not_after() {
    let heap = Heap::with_front(false);
    let cache = heap.cache(64, Flags::NONE);
    assert!(cache.flags() == Flags::NONE);
    heap.slab.set_debug(cache, Flags::DEBUG).unwrap();
    assert!(cache.flags().has(Flags::RED_ZONE | Flags::POISON));
    let object = heap.slab.alloc_object(cache);
    assert_eq!(heap.slab.set_debug(cache, Flags::NONE), Err(kmem_slab::DebugError::InUse));
    heap.free_all(cache, [object]);
    heap.slab.shrink(cache);
    heap.slab.set_debug(cache, Flags::NONE).unwrap();
    assert!(cache.flags() == Flags::NONE && cache.geometry().size == 64);
    let objects = heap.alloc_many(cache, 100);
    assert!(heap.slab.cache_info(cache).queued > 0, "with arrays again");
    heap.free_all(cache, objects);
    heap.destroy(cache).unwrap();
}

#[test]
fn a_type_safe_cache_with_a_destructor_cannot_be() {
    let heap = bare();
    let refused = kmem_slab::Cache::builder("no").within(heap.slab).flags(Flags::TYPESAFE).constructed(String::new);
    assert_eq!(refused.unwrap_err(), kmem_slab::CreateError::Flags);
    assert!(kmem_slab::Cache::builder("yes").within(heap.slab).flags(Flags::TYPESAFE).constructed(|| 1_u64).is_ok());
}
