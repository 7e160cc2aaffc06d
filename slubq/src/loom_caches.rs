//! Models of whole caches: starting, making one, resizing, depots, stealing, decay. Owners run on CPU 0 unless said otherwise.

extern crate std;

use crate::cache::{Cache, Flags, Spec, Tunable, shape_of};
use crate::depot::Depot;
use crate::explore::{explore, explore_within};
use crate::slubq::Slubq;
use kmem_base::classes::Class;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::modelled::{OTHER, SHAPE, SLOT, World, objects};
use kmem_base::percpu::{Idle, Mode, run_on};
use kmem_base::source::Scratch;
use loom::thread;
use std::sync::Arc;
use std::vec::Vec;

/// Two CPUs, two shards, no decay but what a model asks for.
const SETTINGS: Settings = Settings::new().with(Knob::Cpus, 2).with(Knob::Shards, 2).with(Knob::DecayMs, 0).with(Knob::ArenaMb, 4);
/// Objects of a KiB: 64 to a slab, their bits in the descriptor.
const SIZE: usize = 1024;

fn down(source: &'static Scratch) -> Arc<Slubq> {
    source.begin();
    Arc::new(Slubq::new(source))
}

/// An allocator that has started, and a cache in it with queues of `queue` objects.
fn up(source: &'static Scratch, queue: u32) -> (Arc<Slubq>, &'static Cache) {
    let slubq = down(source);
    assert!(slubq.start(&SETTINGS));
    let cache = slubq.create(&Spec::new("model", SIZE, 8).with(Flags::NO_MERGE)).unwrap();
    slubq.tune(cache, Tunable::CpuQueueSize, queue).unwrap();
    (slubq, cache)
}

fn take(slubq: &Slubq, cache: &Cache, count: usize) -> Vec<usize> {
    (0..count).map(|_| slubq.alloc_object(cache).addr()).collect()
}

fn give(slubq: &Slubq, cache: &Cache, objects: &[usize]) {
    // SAFETY: the models free each object once.
    objects.iter().for_each(|object| unsafe { slubq.free_object(cache, core::ptr::without_provenance_mut(*object)) });
}

/// Every invariant holds with these objects in use, and with none once they are freed.
fn settle(slubq: &Slubq, cache: &Cache, mut held: Vec<usize>) {
    assert!(!held.contains(&0));
    slubq.check().unwrap();
    assert_eq!(slubq.live_objects(cache), held.len());
    give(slubq, cache, &held);
    held.sort_unstable();
    held.dedup();
    slubq.shrink(cache);
    slubq.check().unwrap();
    assert_eq!(slubq.live_objects(cache), 0);
    assert_eq!(cache.slabs(), 0, "an object that was handed out twice, or lost, keeps its slab");
}

#[test]
fn loom_of_two_who_start_one_does_and_both_see_all_of_it() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let slubq = down(&SOURCE);
        let theirs = slubq.clone();
        let other = thread::spawn(move || theirs.start(&SETTINGS) && is_up(&theirs));
        assert!(slubq.start(&SETTINGS) && is_up(&slubq));
        assert!(other.join().unwrap());
        assert_eq!(SOURCE.given(), 1, "the rows are mapped once");
    });

    fn is_up(slubq: &Slubq) -> bool {
        let shards = slubq.shards.load(kmem_base::sync::Ordering::Relaxed);
        (shards, slubq.percpu.cpus(), slubq.percpu.mode(), slubq.knobs.get(Knob::Cpus)) == (2, 2, Mode::Restartable, 2)
    }
}

#[test]
fn loom_two_who_need_a_general_cache_get_one_and_see_all_of_it() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let slubq = down(&SOURCE);
        assert!(slubq.start(&SETTINGS));
        let theirs = slubq.clone();
        let see = |slubq: &Slubq| {
            let cache = slubq.general(Class::of(SIZE)).unwrap();
            assert!(cache.tunable(Tunable::CpuQueueSize) > 0 && cache.shards.len() == 2);
            core::ptr::from_ref(cache).addr()
        };
        let other = thread::spawn(move || see(&theirs));
        assert_eq!(see(&slubq), other.join().unwrap());
    });
}

#[test]
fn loom_the_first_allocations_of_two_are_two_objects() {
    // Without queues: more of what the two have in common, and fewer orders that make no difference.
    const SETTINGS: Settings = self::SETTINGS.with(Knob::Queues, 0);
    static SOURCE: Scratch = Scratch::new();
    explore_within(1, || {
        let slubq = down(&SOURCE);
        let theirs = slubq.clone();
        let first = |slubq: &Slubq, cpu| {
            run_on(cpu);
            assert!(slubq.start(&SETTINGS));
            slubq.alloc(Class::of(SIZE)).addr()
        };
        let other = thread::spawn(move || first(&theirs, 1));
        let held = std::vec![first(&slubq, 0), other.join().unwrap()];
        settle(&slubq, slubq.general(Class::of(SIZE)).unwrap(), held);
    });
}

#[test]
fn loom_a_queue_is_resized_while_it_is_used() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (slubq, cache) = up(&SOURCE, 4);
        let mut held = take(&slubq, cache, 2);
        let (theirs, object) = (slubq.clone(), held.pop().unwrap());
        let other = thread::spawn(move || {
            give(&theirs, cache, &[object]);
            take(&theirs, cache, 1)
        });
        run_on(1);
        slubq.tune(cache, Tunable::CpuQueueSize, 20).unwrap();
        held.append(&mut other.join().unwrap());
        assert_eq!(slubq.percpu.lease(cache.slot()).shape(), Some(shape_of(20)));
        settle(&slubq, cache, held);
    });
}

#[test]
fn loom_a_slab_is_stolen_while_another_frees_into_it() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        // Without queues every object goes past them.
        let (slubq, cache) = up(&SOURCE, 0);
        // And without room for empty slabs, who empties one releases it.
        slubq.tune(cache, Tunable::MinPartial, 0).unwrap();
        let objects = take(&slubq, cache, 1);
        let theirs = slubq.clone();
        let thief = thread::spawn(move || {
            run_on(1);
            take(&theirs, cache, 1)
        });
        give(&slubq, cache, &objects);
        settle(&slubq, cache, thief.join().unwrap());
    });
}

/// A depot, and queues to go with it.
struct Exchange {
    world: Arc<World>,
    depot: Depot,
}

impl Exchange {
    fn new(source: &'static Scratch) -> Arc<Self> {
        Arc::new(Self { world: World::new(source, false), depot: Depot::new() })
    }

    /// Puts a full sheaf in block `block` into the depot; its objects if it cannot.
    fn put(&self, block: usize) -> Vec<usize> {
        let lease = self.world.percpu.lease(SLOT);
        if lease.shape() != Some(SHAPE) {
            return full(block);
        }
        let sheaf = self.world.sheaf(block, SHAPE, &full(block));
        objects(self.depot.put(&self.world.percpu, SLOT, &lease, sheaf, 9).err())
    }

    fn take(&self) -> Vec<usize> {
        objects(self.depot.take(&self.world.percpu, SLOT, &self.world.percpu.lease(SLOT)))
    }

    fn settle(&self, mut held: Vec<usize>, blocks: core::ops::Range<usize>) {
        while self.depot.len() > 0 {
            held.append(&mut self.take());
        }
        held.sort_unstable();
        let all: Vec<_> = blocks.flat_map(full).collect();
        assert_eq!(held, all);
    }
}

/// What a full sheaf in `block` holds.
fn full(block: usize) -> Vec<usize> {
    (0..SHAPE.cap as usize).map(|at| block * 10 + at).collect()
}

#[test]
fn loom_sheaves_change_hands_through_the_depot() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let exchange = Exchange::new(&SOURCE);
        assert!(exchange.put(1).is_empty());
        let others: Vec<_> = (0..2)
            .map(|cpu| {
                let theirs = exchange.clone();
                thread::spawn(move || {
                    run_on(cpu);
                    [theirs.put(2 + cpu as usize), theirs.take()].concat()
                })
            })
            .collect();
        let held = others.into_iter().flat_map(|other| other.join().unwrap()).collect();
        exchange.settle(held, 1..4);
    });
}

#[test]
fn loom_a_depot_keeps_no_sheaf_of_an_old_shape() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let exchange = Exchange::new(&SOURCE);
        assert!(exchange.put(1).is_empty());
        let theirs = exchange.clone();
        let other = thread::spawn(move || [theirs.put(2), theirs.take()].concat());
        run_on(1);
        let mut all = Vec::new();
        let settle = |old| {
            while let Some(sheaf) = exchange.depot.take_any(old) {
                all.append(&mut objects(Some(sheaf)));
            }
            Some(OTHER)
        };
        assert!(exchange.world.percpu.drain_and(SLOT, Idle::Any, || true, |_| (), settle));
        all.append(&mut other.join().unwrap());
        assert_eq!(exchange.depot.len(), 0);
        exchange.settle(all, 1..3);
    });
}
