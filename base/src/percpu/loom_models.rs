//! Models of the queues and of draining them: owners on CPU 0, the drain on CPU 1.

extern crate std;

use super::modelled::{OTHER, SHAPE, SLOT, World, address, objects};
use super::{Idle, Lease, Place, Shape, Sheaf, Word, claimed, move_after, run_on};
use crate::source::Scratch;
use crate::sync::explore::explore;
use crate::sync::{AtomicU32, Ordering};
use loom::thread;
use std::sync::Arc;
use std::vec::Vec;

const MAIN: Place = Place::main(SLOT);
const SPARE: Place = Place::spare(SLOT);
impl World {
    /// Puts a sheaf into `place`, which must be vacant.
    fn place(&self, place: Place, sheaf: Sheaf) {
        let word = sheaf.into_word(self.percpu.base());
        assert!(self.percpu.swap_if(&self.percpu.lease(SLOT), place, Word::NONE, word));
    }

    /// Takes the sheaf in `place`, if there is one and no drain comes first.
    fn claim(&self, lease: &Lease, place: Place) -> Option<Sheaf> {
        let word = self.percpu.peek(place);
        let mine = !word.is_none() && self.percpu.swap_if(lease, place, word, Word::NONE);
        // SAFETY: the swap made it ours.
        mine.then(|| unsafe { Sheaf::from_word(word, self.percpu.base(), lease.shape().unwrap()) }.unwrap())
    }

    /// Makes `sheaf` the main one; returns what it must keep: the old one, or this if a drain came first.
    fn install(&self, lease: &Lease, sheaf: Sheaf) -> Option<Sheaf> {
        let (shape, old) = (sheaf.shape(), self.percpu.peek(MAIN));
        let new = sheaf.into_word(self.percpu.base());
        let kept = if self.percpu.swap_if(lease, MAIN, old, new) { old } else { new };
        // SAFETY: of the two, the one that is not in the row is ours.
        unsafe { Sheaf::from_word(kept, self.percpu.base(), shape) }
    }

    fn push(&self, object: usize) -> Vec<usize> {
        let pushed = self.percpu.push(SLOT, address(object)) || self.percpu.push_locked(SLOT, address(object));
        if pushed { Vec::new() } else { std::vec![object] }
    }

    fn pop(&self) -> Vec<usize> {
        let object = self.percpu.pop(SLOT);
        let object = if object.is_null() { self.percpu.pop_locked(SLOT) } else { object };
        if object.is_null() { Vec::new() } else { std::vec![object.addr() / 16] }
    }

    /// Exchanges main and spare sheaf for an allocation, if the spare has something.
    fn rotate_pop(&self) -> Vec<usize> {
        let (lease, spare) = (self.percpu.lease(SLOT), self.percpu.peek(SPARE));
        let object = self.percpu.rotate_pop(&lease, spare, spare.turns());
        if object.is_null() { Vec::new() } else { std::vec![object.addr() / 16] }
    }

    /// The same for a free, if the spare has room.
    fn rotate_push(&self, object: usize) -> Vec<usize> {
        let (lease, spare) = (self.percpu.lease(SLOT), self.percpu.peek(SPARE));
        let pushed = self.percpu.rotate_push(&lease, spare, spare.turns(), address(object));
        if pushed { Vec::new() } else { std::vec![object] }
    }

    /// Drains the queues and gives them another shape, if there is one.
    fn drain(&self, which: Idle, shape: Option<Shape>) -> Vec<usize> {
        let mut drained = Vec::new();
        assert!(self.percpu.drain_and(SLOT, which, || true, |sheaf| drained.append(&mut objects(Some(sheaf))), |_| shape));
        drained
    }

    /// What is in the queues when nothing runs any more, and what `held` says, must be objects 1 to `count`, once each.
    fn settle(&self, mut held: Vec<usize>, count: usize) {
        assert!(self.percpu.check(SLOT));
        held.append(&mut self.drain(Idle::Any, None));
        held.sort_unstable();
        assert_eq!(held, (1..=count).collect::<Vec<_>>());
    }
}

/// `owner` on CPU 0, beside a drain on CPU 1.
fn beside_a_drain(world: &Arc<World>, owner: fn(&World) -> Vec<usize>, which: Idle, shape: Option<Shape>) -> Vec<usize> {
    let theirs = world.clone();
    let owner = thread::spawn(move || owner(&theirs));
    run_on(1);
    let mut held = world.drain(which, shape);
    held.append(&mut owner.join().unwrap());
    held
}

#[test]
fn loom_a_push_beside_a_drain_loses_no_object() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
        let held = beside_a_drain(&world, |world| world.push(2), Idle::Any, None);
        world.settle(held, 2);
    });
}

#[test]
fn loom_pops_beside_a_drain_double_no_object() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1, 2, 3]));
        let held = beside_a_drain(&world, |world| [world.pop(), world.pop()].concat(), Idle::Any, None);
        world.settle(held, 3);
    });
}

#[test]
fn loom_two_on_one_cpu_and_a_drain_agree_on_the_objects() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
        let theirs = world.clone();
        let popper = thread::spawn(move || theirs.pop());
        let mut held = beside_a_drain(&world, |world| world.push(2), Idle::Any, None);
        held.append(&mut popper.join().unwrap());
        world.settle(held, 2);
    });
}

#[test]
fn loom_a_sheaf_is_installed_before_a_drain_or_kept() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
        world.place(SPARE, world.sheaf(1, SHAPE, &[2, 3]));
        let owner = |world: &World| {
            let lease = world.percpu.lease(SLOT);
            if lease.shape().is_none() {
                return Vec::new();
            }
            let spare = world.claim(&lease, SPARE);
            objects(spare.and_then(|spare| world.install(&lease, spare)))
        };
        let held = beside_a_drain(&world, owner, Idle::Any, None);
        world.settle(held, 3);
    });
}

#[test]
fn loom_a_stash_is_drained_or_used() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        let full = world.sheaf(0, SHAPE, &[1, 2, 3]);
        world.percpu.stash(&world.percpu.lease(SLOT), full, 1 << 20).unwrap();
        let owner = |world: &World| {
            let lease = world.percpu.lease(SLOT);
            if lease.shape().is_none() {
                return std::vec![4, 5, 6];
            }
            let mut held = objects(world.percpu.unstash(&lease));
            held.append(&mut objects(world.percpu.stash(&lease, world.sheaf(1, SHAPE, &[4, 5, 6]), 1 << 20).err()));
            held
        };
        let held = beside_a_drain(&world, owner, Idle::Any, None);
        world.settle(held, 6);
    });
}

#[test]
fn loom_main_and_spare_change_places_for_a_pop_beside_a_drain() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
        world.place(SPARE, world.sheaf(1, SHAPE, &[2, 3]));
        let held = beside_a_drain(&world, |world| [world.rotate_pop(), world.pop()].concat(), Idle::Any, None);
        world.settle(held, 3);
    });
}

#[test]
fn loom_main_and_spare_change_places_for_a_push_beside_a_drain() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1, 2, 3]));
        world.place(SPARE, world.sheaf(1, SHAPE, &[4]));
        let held = beside_a_drain(&world, |world| [world.rotate_push(5), world.push(6)].concat(), Idle::Any, None);
        world.settle(held, 6);
    });
}

#[test]
fn loom_two_on_one_cpu_exchange_main_and_spare() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
        world.place(SPARE, world.sheaf(1, SHAPE, &[2]));
        let theirs = world.clone();
        let other = thread::spawn(move || [theirs.rotate_pop(), theirs.push(3)].concat());
        let mut held = [world.rotate_push(4), world.rotate_pop()].concat();
        held.append(&mut other.join().unwrap());
        world.settle(held, 4);
    });
}

#[test]
fn loom_no_sheaf_of_an_old_shape_is_installed() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        let owner = |world: &World| match world.percpu.lease(SLOT) {
            lease if lease.shape().is_some() => {
                let sheaf = world.sheaf(0, lease.shape().unwrap(), &[1, 2]);
                [objects(world.install(&lease, sheaf)), world.pop(), world.push(3)].concat()
            }
            _ => std::vec![1, 2, 3],
        };
        let held = beside_a_drain(&world, owner, Idle::Any, Some(OTHER));
        assert_eq!(world.percpu.lease(SLOT).shape(), Some(OTHER));
        world.settle(held, 3);
    });
}

#[test]
fn loom_a_push_beside_a_drain_of_idle_rows_loses_no_object() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
        world.place(SPARE, world.sheaf(1, SHAPE, &[2]));
        world.percpu.mark(SLOT);
        let held = beside_a_drain(&world, |world| world.push(3), Idle::Untouched, None);
        world.settle(held, 3);
    });
}

#[test]
fn loom_two_on_one_cpu_share_its_stash() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        for (block, objects) in [[1, 2, 3], [4, 5, 6]].iter().enumerate() {
            let full = world.sheaf(block, SHAPE, objects);
            world.percpu.stash(&world.percpu.lease(SLOT), full, 1 << 20).unwrap();
        }
        let theirs = world.clone();
        let other = thread::spawn(move || objects(theirs.percpu.unstash(&theirs.percpu.lease(SLOT))));
        let lease = world.percpu.lease(SLOT);
        let mut held = Vec::new();
        if let Some(full) = world.percpu.unstash(&lease) {
            claimed(&full);
            held.append(&mut objects(world.percpu.stash(&lease, full, 1 << 20).err()));
        }
        held.append(&mut other.join().unwrap());
        world.settle(held, 6);
    });
}

#[test]
fn loom_a_slow_path_may_be_moved_to_another_cpu() {
    static SOURCE: Scratch = Scratch::new();
    // After any number of the times that the slow path looks where it is.
    for looks in 0..6 {
        explore(move || {
            let world = World::new(&SOURCE, false);
            world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
            world.place(SPARE, world.sheaf(1, SHAPE, &[2]));
            run_on(1);
            world.place(MAIN, world.sheaf(2, SHAPE, &[3]));
            run_on(0);
            let theirs = world.clone();
            let other = thread::spawn(move || {
                run_on(1);
                theirs.pop()
            });
            move_after(looks, 1);
            let lease = world.percpu.lease(SLOT);
            let mut held = objects(world.claim(&lease, SPARE).and_then(|sheaf| world.install(&lease, sheaf)));
            held.append(&mut other.join().unwrap());
            world.settle(held, 3);
        });
    }
}

#[test]
fn loom_locked_rows_lose_nothing_beside_a_drain() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, true);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
        let held = beside_a_drain(&world, |world| [world.push(2), world.pop()].concat(), Idle::Any, None);
        world.settle(held, 2);
    });
}

#[test]
fn loom_no_slot_changes_hands_while_it_is_drained() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let world = World::new(&SOURCE, false);
        world.place(MAIN, world.sheaf(0, SHAPE, &[1]));
        // Not 0 while a cache has the slot.
        let owner = Arc::new(AtomicU32::new(1));
        let (theirs, left) = (world.clone(), owner.clone());
        let drain = thread::spawn(move || {
            run_on(1);
            let mut held = Vec::new();
            let still = || left.load(Ordering::Relaxed) == 1;
            let sink = |sheaf| {
                assert_eq!(left.load(Ordering::Relaxed), 1);
                held.append(&mut objects(Some(sheaf)));
            };
            let drained = theirs.percpu.drain_and(SLOT, Idle::Any, still, sink, |_| None);
            assert_eq!(drained, !held.is_empty());
            held
        });
        world.percpu.undrained(|| owner.store(0, Ordering::Relaxed));
        world.settle(drain.join().unwrap(), 1);
    });
}

/// Prunes every idle main sheaf by its oldest object; the objects taken out.
fn prune(world: &World) -> Vec<usize> {
    let mut pruned = Vec::new();
    let take = |mut sheaf: Sheaf| {
        claimed(&sheaf);
        pruned.extend(sheaf.objects().first().map(|object| object.addr() / 16));
        sheaf.forget_oldest(1);
        claimed(&sheaf);
        Some(sheaf)
    };
    assert!(world.percpu.prune(SLOT, |_| true, || true, take));
    pruned
}

/// `owner` on CPU 0, beside a pruning on CPU 1.
fn beside_a_pruning(locked: bool, source: &'static Scratch, owner: fn(&World) -> Vec<usize>, count: usize) {
    let world = World::new(source, locked);
    world.place(MAIN, world.sheaf(0, SHAPE, &[1, 2]));
    world.percpu.mark(SLOT);
    let theirs = world.clone();
    let owner = thread::spawn(move || owner(&theirs));
    run_on(1);
    let mut held = prune(&world);
    held.append(&mut owner.join().unwrap());
    world.settle(held, count);
}

#[test]
fn loom_a_push_beside_a_pruning_loses_no_object() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| beside_a_pruning(false, &SOURCE, |world| world.push(3), 3));
}

#[test]
fn loom_pops_beside_a_pruning_double_no_object() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| beside_a_pruning(false, &SOURCE, |world| [world.pop(), world.pop()].concat(), 2));
}

#[test]
fn loom_no_sheaf_is_installed_where_a_pruned_one_goes_back() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let owner = |world: &World| match world.percpu.lease(SLOT) {
            // As a slow path that finds no array, or takes it.
            lease if lease.shape().is_some() => {
                let mut held = objects(world.claim(&lease, MAIN));
                held.append(&mut objects(world.install(&lease, world.sheaf(1, SHAPE, &[3]))));
                held
            }
            _ => std::vec![3],
        };
        beside_a_pruning(false, &SOURCE, owner, 3);
    });
}

#[test]
fn loom_locked_rows_lose_nothing_beside_a_pruning() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| beside_a_pruning(true, &SOURCE, |world| [world.push(3), world.pop()].concat(), 3));
}
