//! A cache is destroyed while another thread has its slabs or its free objects in hand.

use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::{Call, GatedSource, Permit};
use kmem_slubq::{Flags, Level, Slubq, Spec};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The pass has the slab in hand.
static TAKEN: Barrier = Barrier::new(2);
/// No lock of the allocator's is held while memory goes back.
static SOURCE: GatedSource<Permit> = GatedSource(|call, _| {
    if call == Call::Purge {
        take_time();
    }
    true
});

/// As long as the system takes to take memory back.
fn take_time() {
    TAKEN.wait();
    std::thread::sleep(Duration::from_millis(200));
}

#[test]
fn a_cache_whose_slab_is_being_punched_can_be_destroyed() {
    let slubq: &'static Slubq = Box::leak(Box::new(Slubq::new(&SOURCE)));
    assert!(slubq.start(&Settings::new().with(Knob::ArenaMb, 64).with(Knob::DecayMs, 0)));
    let cache = slubq.create(&Spec::new("punched", 4096, 8).with(Flags::NO_MERGE)).unwrap();
    let objects: Vec<_> = (0..4).map(|_| slubq.alloc_object(cache)).collect();
    let free = |object: *mut u8| {
        // SAFETY: the test's own, freed once.
        unsafe { slubq.free_object(cache, object) }
    };
    objects[1..].iter().for_each(|object| free(*object));
    slubq.expire(cache, Level::Queues);
    slubq.decay();
    std::thread::scope(|scope| {
        scope.spawn(|| slubq.decay());
        TAKEN.wait();
        free(objects[0]);
        // SAFETY: the test uses it no more.
        assert_eq!(unsafe { slubq.destroy(cache) }, Ok(()));
    });
    slubq.check().unwrap();
}

/// The destructor of the first object takes time.
static DESTROYED: Barrier = Barrier::new(2);
static FIRST: AtomicBool = AtomicBool::new(true);
static OVER: AtomicBool = AtomicBool::new(false);

unsafe fn destruct(_object: *mut u8, _context: *mut ()) {
    if FIRST.swap(false, Ordering::Relaxed) {
        DESTROYED.wait();
        std::thread::sleep(Duration::from_millis(200));
        OVER.store(true, Ordering::Relaxed);
    }
}

/// What the destructor needs may go once the cache is gone.
#[test]
fn a_cache_whose_slab_is_being_trimmed_can_be_destroyed() {
    let slubq: &'static Slubq = Box::leak(Box::new(Slubq::system()));
    assert!(slubq.start(&Settings::new().with(Knob::ArenaMb, 64).with(Knob::DecayMs, 0)));
    // SAFETY: the destructor does nothing with the object.
    let spec = unsafe { Spec::new("trimmed", 4096, 8).constructed(None, Some(destruct), std::ptr::null_mut()) };
    let cache = slubq.create(&spec).unwrap();
    let object = slubq.alloc_object(cache);
    // SAFETY: the test's own, freed once.
    unsafe { slubq.free_object(cache, object) };
    std::thread::scope(|scope| {
        scope.spawn(|| slubq.trim(Level::Queues));
        DESTROYED.wait();
        // SAFETY: the test uses it no more.
        assert_eq!(unsafe { slubq.destroy(cache) }, Ok(()), "nothing is in use");
        assert!(OVER.load(Ordering::Relaxed), "a destructor runs that the cache is without");
    });
    slubq.check().unwrap();
}
