//! Models of the slab protocol, on the production source. Two threads each, one property each.

extern crate std;

use crate::explore::explore;
use crate::geometry::Geometry;
use crate::shard::{Shard, list, take_from, take_over, unlist_if_empty, unmark};
use crate::slab::{Duty, Slab};
use core::ptr::null_mut;
use kmem_base::pages::{Kind, Page};
use kmem_base::sync::{AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;
use std::boxed::Box;
use std::vec::Vec;

/// Address that objects of the models seem to have; they are never touched.
const SOMEWHERE: usize = 1 << 30;

struct World {
    page: &'static Page,
    geometry: &'static Geometry,
    shards: Vec<Shard>,
}

impl World {
    /// A slab of 64 objects of which `taken` have been handed out, listed unless it is full.
    fn new(taken: usize, shards: usize) -> (Arc<Self>, Vec<usize>) {
        Self::with(Geometry::new(1024), SOMEWHERE, taken, shards)
    }

    fn with(geometry: Geometry, address: usize, taken: usize, shards: usize) -> (Arc<Self>, Vec<usize>) {
        // Leaked: a model is run anew for each execution, and descriptors are never unmapped in use either.
        let (page, geometry) = (Box::leak(Box::new(Page::new())), Box::leak(Box::new(geometry)));
        page.begin(Kind::Slab, address, 1);
        let shards = (0..shards).map(|_| Shard::new()).collect();
        let world = Arc::new(Self { page, geometry, shards });
        world.slab().fill();
        let mut objects = std::vec![null_mut(); taken];
        let (count, left) = world.slab().take(&mut objects);
        assert_eq!(count, taken);
        if left.free() > 0 {
            drop(list(&world.shards, &world.slab()));
        }
        (world, objects.into_iter().map(|object| object.addr()).collect())
    }

    fn slab(&self) -> Slab<'static> {
        // SAFETY: the model's page starts a slab of that geometry.
        unsafe { Slab::new(self.page, self.geometry) }
    }

    /// Frees as the allocator does: returns true if this thread took the slab for release.
    fn free(&self, objects: &[usize]) -> bool {
        let objects: Vec<*mut u8> = objects.iter().map(|at| core::ptr::without_provenance_mut(*at)).collect();
        match self.slab().put(&objects) {
            Ok(Duty::None) => false,
            Ok(Duty::List) => unlist_if_empty(&mut list(&self.shards, &self.slab()), &self.slab()),
            Ok(Duty::Reconsider) => unlist_if_empty(&mut unmark(&self.shards, &self.slab()), &self.slab()),
            Err(fault) => panic!("{fault:?}"),
        }
    }

    /// Takes up to `most` objects from the listed slabs, as a refill does.
    fn refill(&self, most: usize) -> usize {
        let mut out = std::vec![null_mut(); most];
        take_from(&mut self.shards[0].lock(), self.geometry, &mut out)
    }

    /// Takes one object as a steal does: out of shard 0, into shard 1.
    fn steal(&self) -> usize {
        let stolen = take_over(&mut self.shards[0].lock(), self.geometry, 1, 1);
        stolen.map_or(0, |slab| {
            let (taken, left) = slab.take(&mut [null_mut(); 1]);
            if left.free() > 0 {
                drop(list(&self.shards, &slab));
            }
            taken
        })
    }

    fn listed(&self) -> u32 {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Count and bits agree, and the slab is listed if something is free in it. If nothing is, a take that was ahead of a put may have
    /// left it listed; the next one unlists it.
    fn settle(&self, free: usize) {
        let free = free as i32;
        if free == 0 {
            assert_eq!(self.refill(1), 0);
        }
        let slab = self.slab();
        assert!(slab.check());
        assert_eq!(slab.state().free(), free);
        assert_eq!(slab.state().is_listed(), free > 0);
        assert_eq!(self.listed(), u32::from(free > 0));
        assert!(self.shards.iter().all(|shard| shard.lock().check()));
    }
}

#[test]
fn loom_a_put_and_a_take_lose_nothing() {
    explore(|| {
        let (world, objects) = World::new(62, 1);
        let other = world.clone();
        let freer = thread::spawn(move || other.free(&objects[..3]));
        let taken = world.refill(2);
        freer.join().unwrap();
        world.settle(2 + 3 - taken);
    });
}

#[test]
fn loom_of_two_who_free_into_a_full_slab_one_lists_it() {
    explore(|| {
        let (world, objects) = World::new(64, 1);
        let (other, theirs) = (world.clone(), objects[0]);
        let freer = thread::spawn(move || other.free(&[theirs]));
        world.free(&[objects[1]]);
        freer.join().unwrap();
        world.settle(2);
    });
}

#[test]
fn loom_the_taker_of_the_last_object_and_a_freer_agree_on_the_list() {
    explore(|| {
        let (world, objects) = World::new(63, 1);
        let other = world.clone();
        let freer = thread::spawn(move || other.free(&objects[..1]));
        let taken = world.refill(64);
        freer.join().unwrap();
        world.settle(2 - taken);
    });
}

#[test]
fn loom_an_empty_slab_is_released_at_most_once_and_then_nobody_touches_it() {
    explore(|| {
        let (world, objects) = World::new(2, 1);
        let (other, theirs) = (world.clone(), objects[0]);
        let freer = thread::spawn(move || other.free(&[theirs]));
        let mine = world.free(&[objects[1]]);
        let released = usize::from(mine) + usize::from(freer.join().unwrap());
        assert!(released <= 1);
        assert_eq!(world.slab().state().free(), 64);
        assert_eq!(world.slab().bits_set(), 64);
        assert_eq!(world.listed() as usize, 1 - released);
    });
}

#[test]
fn loom_a_full_slab_freed_entirely_by_two_ends_listed_or_released() {
    explore(|| {
        let (world, objects) = World::new(64, 1);
        let (other, theirs) = (world.clone(), objects[..32].to_vec());
        let freer = thread::spawn(move || other.free(&theirs));
        let mine = world.free(&objects[32..]);
        let released = u32::from(mine) + u32::from(freer.join().unwrap());
        assert_eq!(world.listed() + released, 1);
        assert_eq!(world.slab().bits_set(), 64);
    });
}

#[test]
fn loom_a_slab_is_taken_over_while_another_frees_into_it() {
    explore(|| {
        let (world, objects) = World::new(63, 2);
        let other = world.clone();
        let freer = thread::spawn(move || other.free(&objects[..1]));
        let taken = world.steal();
        assert_eq!(taken, 1);
        freer.join().unwrap();
        world.settle(2 - taken);
        assert_eq!(world.shards[0].lock().len(), 0);
    });
}

#[test]
fn loom_a_slab_with_objects_that_are_not_counted_yet_is_not_taken_over() {
    explore(|| {
        let (world, objects) = World::new(63, 2);
        let other = world.clone();
        let taker = thread::spawn(move || other.refill(2) + other.steal());
        world.free(&objects[..3]);
        world.settle(4 - taker.join().unwrap());
    });
}

/// Three words of bits at the slab's start, with a summary, as only larger slabs have.
fn model() -> Geometry {
    Geometry { objects: 192, ..Geometry::new(64) }
}

/// Memory with the bits of a slab of [`model`] in it.
fn memory() -> usize {
    #[repr(align(65536))]
    struct Memory(#[allow(dead_code)] [u8; 65536]);
    static ONCE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    // One for all executions: only the words are looked at, and they are written anew.
    let address = *ONCE.get_or_init(|| core::ptr::from_mut(Box::leak(Box::new(Memory([0; 65536])))).expose_provenance());
    for word in 0..3 {
        let at = address + word * size_of::<AtomicU64>();
        // SAFETY: inside the memory, which is leaked.
        unsafe { core::ptr::with_exposed_provenance_mut::<AtomicU64>(at).write(AtomicU64::new(0)) };
    }
    address
}

/// The models with a summary use the same memory, one at a time.
static SUMMARY: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn loom_the_summary_hides_no_word() {
    let _alone = SUMMARY.lock();
    explore(|| {
        let geometry = model();
        let address = memory();
        // All but the last object are out, so that the last word is about to become empty.
        let (world, objects) = World::with(geometry, address, 191, 1);
        let other = world.clone();
        let freer = thread::spawn(move || other.free(&objects[190..]));
        let taken = world.refill(1);
        freer.join().unwrap();
        world.settle(2 - taken);
        assert_eq!(world.refill(64), 2 - taken, "a free object that no refill finds is lost");
    });
}

#[test]
fn loom_a_put_touches_no_slab_that_was_released_and_made_anew() {
    let _alone = SUMMARY.lock();
    explore(|| {
        let geometry = model();
        let address = memory();
        let (world, objects) = World::with(geometry, address, 128, 1);
        let (other, theirs) = (world.clone(), objects[..64].to_vec());
        // Whoever releases the slab makes the page something else at once.
        let reuse = |world: &World| {
            world.page.state.store(0, Ordering::SeqCst);
            world.page.bits[0].store(0, Ordering::SeqCst);
            world.page.home.store(7, Ordering::SeqCst);
        };
        let freer = thread::spawn(move || {
            let mine = other.free(&theirs);
            if mine {
                reuse(&other);
            }
            mine
        });
        let mine = world.free(&objects[64..]);
        if mine {
            reuse(&world);
        }
        if freer.join().unwrap() | mine {
            assert_eq!(world.page.bits[0].load(Ordering::SeqCst), 0);
            assert_eq!(world.page.state.load(Ordering::SeqCst), 0);
        }
    });
}

#[test]
fn loom_a_marked_slab_is_released_by_nobody_else() {
    explore(|| {
        let (world, objects) = World::new(2, 1);
        let other = world.clone();
        let freer = thread::spawn(move || other.free(&objects));
        // As a shrink does, which may find the slab empty first.
        let mine = {
            let mut partial = world.shards[0].lock();
            let listed = partial.first().is_some();
            listed && unlist_if_empty(&mut partial, &world.slab())
        };
        if mine {
            world.page.home.store(7, Ordering::SeqCst);
        }
        let theirs = freer.join().unwrap();
        assert!(!(mine && theirs), "released twice");
        assert!(!mine, "the put marks before anybody can see the slab empty");
        assert!(theirs);
    });
}
