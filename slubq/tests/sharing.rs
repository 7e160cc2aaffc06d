//! Who shares a cache with whom, and how many caches there can be.

mod common;

use common::Heap;
use kmem_base::classes::CLASSES;
use kmem_base::config::MAX_SLOTS;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::Plan;
use kmem_slubq::{Cache, CreateError, Flags, Spec};

fn heap() -> Heap {
    Heap::new(&Settings::new().with(Knob::ArenaMb, 64).with(Knob::DecayMs, 0))
}

unsafe fn nothing(_: *mut u8, _: *mut ()) {}

fn spec(size: usize, flags: Flags) -> Spec<'static> {
    Spec::new("shared", size, 8).with(flags)
}

#[test]
fn caches_share_what_is_equal_in_size_and_flags() {
    let heap = heap();
    let same = |a: &Cache, b: &Cache| std::ptr::eq(a, b);
    let odd = heap.cache(&spec(1000, Flags::NONE));
    assert!(same(odd, heap.cache(&spec(993, Flags::NONE))), "the objects' size is the same");
    let low = heap.cache(&spec(1000, Flags::LOWMEM));
    assert!(!same(odd, low) && same(low, heap.cache(&spec(1000, Flags::LOWMEM))));
    assert!(!same(odd, heap.cache(&spec(1008, Flags::NONE))));
    // A general cache is for plain ones alone.
    let general = heap.cache(&spec(64, Flags::NONE));
    assert_eq!(general.name(), "kmalloc-64");
    let low = heap.cache(&spec(64, Flags::LOWMEM));
    assert!(!same(general, low) && low.name() == "shared" && same(low, heap.cache(&spec(64, Flags::LOWMEM))));
}

#[test]
fn caches_of_their_own_are_joined_by_nobody() {
    let heap = heap();
    let alone = heap.cache(&spec(1000, Flags::NO_MERGE));
    // SAFETY: they do nothing.
    let [made, unmade] = [(Some(nothing as _), None), (None, Some(nothing as _))].map(|(constructor, destructor)| unsafe {
        Spec::new("own", 1000, 8).constructed(constructor, destructor, std::ptr::null_mut())
    });
    let own = [alone, heap.cache(&made), heap.cache(&unmade), heap.cache(&made), heap.cache(&spec(1000, Flags::NO_MERGE))];
    assert!((0..5).all(|at| own[..at].iter().all(|other| !std::ptr::eq(*other, own[at]))));
    let first = heap.cache(&spec(1000, Flags::NONE));
    assert!(own.iter().all(|other| !std::ptr::eq(*other, first)));
    assert!(std::ptr::eq(first, heap.cache(&spec(1000, Flags::NONE))));
}

#[test]
fn a_shared_cache_lives_as_long_as_its_last_user() {
    let heap = heap();
    let cache = heap.cache(&spec(1000, Flags::NONE));
    (0..2).for_each(|_| assert!(std::ptr::eq(cache, heap.cache(&spec(1000, Flags::NONE)))));
    for _ in 0..2 {
        heap.destroy(cache).unwrap();
        let object = heap.slubq.alloc_object(cache);
        assert!(!object.is_null());
        // SAFETY: allocated above.
        unsafe { heap.slubq.free_object(cache, object) };
    }
    heap.destroy(cache).unwrap();
    let next = heap.cache(&spec(1000, Flags::NONE));
    assert!(!std::ptr::eq(cache, next), "nobody joins the dead");
    // A general cache stays, however often it is taken leave of.
    let general = heap.cache(&spec(64, Flags::NONE));
    (0..3).for_each(|_| heap.destroy(general).unwrap());
    assert!(std::ptr::eq(general, heap.cache(&spec(64, Flags::NONE))));
    heap.slubq.check().unwrap();
}

#[test]
fn a_creation_that_fails_takes_no_slot() {
    let heap = heap();
    let alone = spec(8, Flags::NO_MERGE);
    let mut created = 0;
    heap.source.plan(Plan::From(0));
    let error = loop {
        match heap.slubq.create(&alone) {
            Ok(_) => created += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, CreateError::NoMemory);
    (0..50).for_each(|_| assert_eq!(heap.slubq.create(&alone).err(), Some(CreateError::NoMemory)));
    heap.source.plan(Plan::Never);
    while heap.slubq.create(&alone).is_ok() {
        created += 1;
    }
    assert_eq!(created, MAX_SLOTS - CLASSES);
    assert_eq!(heap.slubq.create(&alone).err(), Some(CreateError::TooMany));
}
