//! What a program can do wrong, each in a process of its own: one line, exactly, and an abort.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_slab::{Broken, Flags, Front, RawCache, Spec};
use kmem_testkit::child::expect_abort;
use std::mem::ManuallyDrop;

fn heap() -> Heap {
    Heap::with_front(false)
}

fn free(heap: &Heap, cache: &RawCache, object: *mut u8) {
    // SAFETY: what these tests are about; in a process that ends with it.
    unsafe { heap.slab.free_object(cache, object) };
}

/// Fills and empties the CPU's array, so that what is in it goes to the slabs.
fn flush(heap: &Heap, cache: &RawCache) {
    heap.slab.shrink(cache);
}

#[test]
fn double_free_in_a_checked_cache() {
    expect_abort("double_free_in_a_checked_cache", "kmem: double free of 0x* (test)", || {
        let heap = heap();
        let cache = heap.cache(64, Flags::CHECKS);
        let object = heap.slab.alloc_object(cache);
        free(&heap, cache, object);
        free(&heap, cache, object);
    });
}

#[test]
fn double_free_names_the_last_user() {
    let line = format!("kmem: double free of 0x* (test), last used at slab/tests/misuse.rs:{}", line!() + 5);
    expect_abort("double_free_names_the_last_user", &line, || {
        let heap = heap();
        let cache = heap.cache(64, Flags::STORE_USER);
        let object = heap.slab.alloc_object(cache);
        heap.free_here(cache, object);
        heap.free_here(cache, object);
    });
}

#[test]
fn more_frees_than_objects_are_noticed_without_checks() {
    expect_abort("more_frees_than_objects_are_noticed_without_checks", "kmem: double free of 0x* (test)", || {
        let heap = heap();
        let cache = heap.cache(64, Flags::NONE);
        let object = heap.slab.alloc_object(cache);
        // Of the slab nothing is out once the array is back.
        flush(&heap, cache);
        free(&heap, cache, object);
        flush(&heap, cache);
        free(&heap, cache, object);
        flush(&heap, cache);
    });
}

#[test]
fn free_to_another_cache() {
    expect_abort("free_to_another_cache", "kmem: freed with the wrong layout or to the wrong cache: 0x* (test)", || {
        let heap = heap();
        let (cache, other) = (heap.cache(64, Flags::NONE), heap.cache(64, Flags::NONE));
        let object = heap.slab.alloc_object(cache);
        free(&heap, other, object);
        flush(&heap, other);
    });
}

#[test]
fn free_to_another_checked_cache() {
    expect_abort("free_to_another_checked_cache", "kmem: freed with the wrong layout or to the wrong cache: 0x* (test)", || {
        let heap = heap();
        let (cache, other) = (heap.cache(64, Flags::NONE), heap.cache(64, Flags::CHECKS));
        free(&heap, other, heap.slab.alloc_object(cache));
    });
}

#[test]
fn free_of_the_middle_of_an_object() {
    expect_abort("free_of_the_middle_of_an_object", "kmem: freed, but not the start of an object: 0x* (test)", || {
        let heap = heap();
        let cache = heap.cache(64, Flags::NONE);
        free(&heap, cache, heap.slab.alloc_object(cache).wrapping_add(8));
        flush(&heap, cache);
    });
}

#[test]
fn free_of_somebody_elses_memory() {
    expect_abort("free_of_somebody_elses_memory", "kmem: freed, but not memory of this allocator: 0x* (test)", || {
        let heap = heap();
        let cache = heap.cache(64, Flags::NONE);
        let mut mine = [0_u64; 8];
        free(&heap, cache, (&raw mut mine).cast());
        flush(&heap, cache);
    });
}

fn spoil(at: isize, name: &str, line: &str) {
    expect_abort(name, line, || {
        let heap = heap();
        let cache = heap.cache(60, Flags::RED_ZONE);
        let object = heap.slab.alloc_object(cache);
        // SAFETY: inside the slab; what this is about.
        unsafe { *object.offset(at) ^= 1 };
        free(&heap, cache, object);
    });
}

#[test]
fn write_before_an_object() {
    spoil(-1, "write_before_an_object", "kmem: red zone before an object overwritten, object at 0x* (test)");
}

#[test]
fn write_behind_an_object() {
    spoil(60, "write_behind_an_object", "kmem: red zone behind an object overwritten, object at 0x* (test)");
}

#[test]
fn write_far_behind_an_object() {
    spoil(71, "write_far_behind_an_object", "kmem: red zone behind an object overwritten, object at 0x* (test)");
}

#[test]
fn write_to_a_free_object() {
    expect_abort("write_to_a_free_object", "kmem: free object written to: 0x* (test)", || {
        let heap = heap();
        let cache = heap.cache(64, Flags::POISON);
        let object = heap.slab.alloc_object(cache);
        free(&heap, cache, object);
        // SAFETY: memory of the cache; what this is about.
        unsafe { *object.add(63) = 0 };
        // It is the next to be handed out.
        let _faults = heap.slab.alloc_object(cache);
    });
}

#[test]
fn write_to_a_free_red_zone() {
    expect_abort("write_to_a_free_red_zone", "kmem: red zone behind an object overwritten, object at 0x* (test)", || {
        let heap = heap();
        let cache = heap.cache(64, Flags::RED_ZONE);
        let object = heap.slab.alloc_object(cache);
        free(&heap, cache, object);
        // SAFETY: as above.
        unsafe { *object.add(64) ^= 0xFF };
        let _faults = heap.slab.alloc_object(cache);
    });
}

#[test]
fn a_list_in_a_free_object_that_is_written_over() {
    expect_abort("a_list_in_a_free_object_that_is_written_over", "kmem: free memory was overwritten near 0x* (test)", || {
        let heap = Heap::new(&Settings::new().with(Knob::ArenaMb, 64).with(Knob::Queues, 0));
        let cache = heap.cache(1024, Flags::NONE);
        let objects = heap.alloc_many(cache, cache.geometry().objects as usize);
        // The first to come back holds the list.
        free(&heap, cache, objects[0]);
        // SAFETY: memory of the cache; what this is about.
        unsafe { objects[0].write_bytes(0xFF, 1024) };
        let _faults = heap.slab.alloc_object(cache);
    });
}

#[test]
fn use_of_a_destroyed_cache() {
    for front in [Front::Arrays, Front::Magazines] {
        expect_abort("use_of_a_destroyed_cache", "kmem: use of a destroyed cache at 0x* (gone)", || {
            let heap = heap();
            let cache = heap.slab.create(&Spec::new("gone", 64, 8).behind(front)).unwrap();
            free(&heap, cache, heap.slab.alloc_object(cache));
            heap.destroy(cache).unwrap();
            let _faults = heap.slab.alloc_object(cache);
        });
    }
}

#[test]
fn a_cache_that_must_be_and_cannot() {
    expect_abort("a_cache_that_must_be_and_cannot", "kmem: out of memory for bytes 0x* (must)", || {
        let heap = heap();
        let _ends = heap.slab.create(&Spec::new("must", usize::MAX / 2, 8).with(Flags::PANIC));
    });
}

#[test]
fn verify_finds_what_was_written_without_ending_the_program() {
    let heap = heap();
    let cache = heap.cache(64, Flags::DEBUG);
    let (used, freed) = (heap.slab.alloc_object(cache), heap.slab.alloc_object(cache));
    let objects = heap.slab.verify(cache).unwrap();
    assert_eq!(objects, cache.geometry().objects as usize);
    // SAFETY: inside the slab, here and below; undone again.
    unsafe { *used.add(64) ^= 1 };
    let damage = heap.slab.verify(cache).unwrap_err();
    assert_eq!((damage.fault, damage.object), (kmem_base::fault::Fault::Overrun, used.addr()));
    assert!(damage.to_string().contains("slab/tests/misuse.rs:"), "{damage}");
    // SAFETY: as above.
    unsafe { *used.add(64) ^= 1 };
    free(&heap, cache, freed);
    // SAFETY: as above.
    unsafe { *freed = 1 };
    assert_eq!(heap.slab.verify(cache).unwrap_err().fault, kmem_base::fault::Fault::UsedAfterFree);
    // SAFETY: as above.
    unsafe { *freed = 0x6B };
    assert!(heap.slab.verify(cache).is_ok());
    free(&heap, cache, used);
    heap.destroy(cache).unwrap();
}

#[test]
fn a_walk_finds_an_object_in_two_places_before_it_does_harm() {
    for (front, count) in [(Front::Arrays, 1), (Front::Magazines, 1), (Front::Magazines, 40)] {
        let heap = heap();
        let cache = heap.slab.create(&Spec::new("test", 64, 8).behind(front)).unwrap();
        let other = heap.cache(64, Flags::NONE);
        // With as many objects before the slabs as bring the first free to the depot.
        heap.free_all(cache, heap.alloc_many(cache, count));
        let [object, spare, foreign] = [cache, cache, other].map(|cache| heap.slab.alloc_object(cache));
        let found = |wrong: *mut u8| {
            free(&heap, cache, wrong);
            let found = heap.slab.check_cache(cache);
            assert_eq!(heap.slab.alloc_object(cache), wrong, "the next to go out again");
            found
        };
        assert_eq!(found(object), Ok(()));
        assert_eq!(found(foreign), Err(Broken::Queued));
        assert_eq!(found(object.wrapping_add(8)), Err(Broken::Queued));
        free(&heap, cache, object);
        assert_eq!(found(object), Err(Broken::Queued));
        assert_eq!(heap.slab.check_cache(cache), Ok(()));
        heap.free_all(cache, [spare]);
        heap.free_all(other, [foreign]);
        heap.destroy(cache).unwrap();
    }
}

/// A row's array is looked at beside those of all others, however many rows there are.
#[test]
fn a_walk_finds_an_object_in_two_distant_rows() {
    let settings = Settings::new().with(Knob::PerCpu, 1).with(Knob::Cpus, 200).with(Knob::Nodes, 1);
    for front in [Front::Arrays, Front::Magazines] {
        let heap = Heap::new(&settings);
        let cache = heap.slab.create(&Spec::new("test", 64, 8).behind(front)).unwrap();
        on_cpu(Some(0));
        // With one in use, as many are counted as there are.
        let [object, used] = [(); 2].map(|()| heap.slab.alloc_object(cache));
        free(&heap, cache, object);
        for cpu in [1, 63, 64, 128, 199] {
            on_cpu(Some(cpu));
            assert_eq!(heap.slab.check_cache(cache), Ok(()));
            free(&heap, cache, object);
            assert_eq!(heap.slab.check_cache(cache), Err(Broken::Queued), "in rows 0 and {cpu}");
            assert_eq!(heap.slab.alloc_object(cache), object, "the next to go out again");
        }
        on_cpu(None);
        free(&heap, cache, used);
        assert_eq!(heap.slab.check_cache(cache), Ok(()));
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn a_walk_looks_into_alien_arrays_where_there_are_no_others() {
    let settings = Settings::new().with(Knob::PerCpu, 1).with(Knob::Cpus, 2).with(Knob::Nodes, 2).with(Knob::Queues, 0);
    // Whoever brings the objects home finds the fault, and ends the process.
    let heap = ManuallyDrop::new(Heap::new(&settings));
    let cache = heap.cache(64, Flags::NONE);
    on_cpu(Some(0));
    let [object, _used] = [(); 2].map(|()| heap.slab.alloc_object(cache));
    on_cpu(Some(1));
    free(&heap, cache, object);
    assert_eq!((heap.slab.cache_info(cache).alien, heap.slab.check_cache(cache)), (1, Ok(())));
    free(&heap, cache, object);
    assert_eq!(heap.slab.check_cache(cache), Err(Broken::Queued));
}
