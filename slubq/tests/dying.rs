//! A cache is destroyed while a decay pass of another thread has its slabs in hand.

use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::{Call, GatedSource, Permit};
use kmem_slubq::{Flags, Level, Slubq, Spec};
use std::sync::Barrier;
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
