//! A cache is destroyed while a decay pass of another thread has its slabs in hand.

use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::{OsSource, PageSource};
use kmem_slubq::{Flags, Level, Slubq, Spec};
use std::ptr::NonNull;
use std::sync::Barrier;
use std::time::Duration;

/// The system, except that it takes its time to take memory back.
#[derive(Debug)]
struct Slow {
    taken: Barrier,
}

// SAFETY: forwards to `OsSource`.
unsafe impl PageSource for Slow {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        OsSource.reserve(len, align)
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's.
        unsafe { OsSource.commit(at, len) }
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        OsSource.map(len, align)
    }

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        self.taken.wait();
        std::thread::sleep(Duration::from_millis(200));
        // SAFETY: the caller's.
        unsafe { OsSource.purge(at, len) }
    }

    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: the caller's.
        unsafe { OsSource.advise_huge(at, len) }
    }

    unsafe fn remap(&self, at: NonNull<u8>, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
        // SAFETY: the caller's.
        unsafe { OsSource.remap(at, old, new, may_move) }
    }

    unsafe fn unmap(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: the caller's.
        unsafe { OsSource.unmap(at, len) }
    }
}

#[test]
fn a_cache_whose_slab_is_being_punched_can_be_destroyed() {
    let source: &'static Slow = Box::leak(Box::new(Slow { taken: Barrier::new(2) }));
    let slubq: &'static Slubq = Box::leak(Box::new(Slubq::new(source)));
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
        source.taken.wait();
        free(objects[0]);
        // SAFETY: the test uses it no more.
        assert_eq!(unsafe { slubq.destroy(cache) }, Ok(()));
    });
    slubq.check().unwrap();
}
