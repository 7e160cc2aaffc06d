//! While a slab is being punched, somebody takes every object that can be had: what he gets must stay as he writes it.

use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::{Call, GatedSource, Permit};
use kmem_slubq::{Cache, Flags, Level, Slubq, Spec};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

const SIZE: usize = 1024;
const OBJECTS: usize = 4096;

/// The cache to take from before the next purge.
static VICTIM: Mutex<Option<&'static Cache>> = Mutex::new(None);
static LOOT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// No lock of the allocator's is held while memory goes back.
static SOURCE: GatedSource<Permit> = GatedSource(|call, _| {
    if call == Call::Purge {
        intrude();
    }
    true
});
static SLUBQ: Slubq = Slubq::new(&SOURCE);

fn bytes(object: usize) -> &'static mut [u8] {
    // SAFETY: an object of that size, which the intruder holds for good.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(object), SIZE) }
}

fn intrude() {
    let victim = VICTIM.lock().unwrap().take();
    if let Some(cache) = victim {
        let taken: Vec<_> = (0..OBJECTS).map(|_| SLUBQ.alloc_object(cache).expose_provenance()).collect();
        taken.iter().for_each(|&object| bytes(object).fill(0xCD));
        *LOOT.lock().unwrap() = taken;
    }
}

#[test]
fn what_is_taken_while_a_slab_is_punched_is_not_in_its_holes() {
    assert!(SLUBQ.start(&Settings::new().with(Knob::ArenaMb, 64).with(Knob::DecayMs, 0)));
    let cache = SLUBQ.create(&Spec::new("victim", SIZE, 8).with(Flags::NO_MERGE)).unwrap();
    let objects: Vec<_> = (0..OBJECTS).map(|_| SLUBQ.alloc_object(cache)).collect();
    let free = |object: &*mut u8| {
        // SAFETY: allocated above, freed once.
        unsafe { SLUBQ.free_object(cache, *object) };
    };
    objects.iter().enumerate().filter(|(at, _)| at % 16 != 0).for_each(|(_, object)| free(object));
    SLUBQ.expire(cache, Level::Queues);
    SLUBQ.decay();
    // So that the next purge is one of a hole.
    SLUBQ.pages().purge(true);
    *VICTIM.lock().unwrap() = Some(cache);
    SLUBQ.decay();
    assert!(cache.counters().punched.load(Ordering::Relaxed) > 0);
    let loot = LOOT.lock().unwrap();
    assert_eq!(loot.len(), OBJECTS, "the intruder was there");
    let spoilt = loot.iter().filter(|object| bytes(**object).iter().any(|&byte| byte != 0xCD)).count();
    assert_eq!(spoilt, 0, "objects in holes were handed out");
    SLUBQ.check().unwrap();
}
