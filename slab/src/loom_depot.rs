//! Models of a depot beside a change of its magazines' size: the drain changes it, and empties the depot meanwhile.

extern crate std;

use crate::depot::Depot;
use crate::explore::explore;
use kmem_base::percpu::modelled::{OTHER, SHAPE, SLOT, World, objects};
use kmem_base::percpu::{Idle, Shape, run_on};
use kmem_base::source::Scratch;
use kmem_base::sync::AtomicU64;
use loom::thread;
use std::sync::Arc;
use std::vec::Vec;

/// A depot, and the CPUs' magazines to go with it.
struct Exchange {
    world: Arc<World>,
    depot: Depot,
    locks: AtomicU64,
}

impl Exchange {
    fn new(source: &'static Scratch) -> Arc<Self> {
        Arc::new(Self { world: World::new(source, false), depot: Depot::new(), locks: AtomicU64::new(0) })
    }

    /// Puts a full magazine in block `block` into the depot; its objects if it cannot.
    fn put(&self, block: usize) -> Vec<usize> {
        let lease = self.world.percpu.lease(SLOT);
        let Some(shape) = lease.shape() else { return full(block, SHAPE) };
        let magazine = self.world.sheaf(block, shape, &full(block, shape));
        objects(self.depot.put_full(&self.world.percpu, SLOT, &lease, magazine, 9, &self.locks).err())
    }

    fn take(&self) -> Vec<usize> {
        let percpu = &self.world.percpu;
        objects(self.depot.take_full(percpu, SLOT, &percpu.lease(SLOT), None, &self.locks).ok())
    }

    /// Changes the size of magazines. What the depot held.
    fn resize(&self) -> Vec<usize> {
        let mut all = Vec::new();
        let settle = |old| {
            while let Some(magazine) = self.depot.take_any(old) {
                all.append(&mut objects(Some(magazine)));
            }
            Some(OTHER)
        };
        assert!(self.world.percpu.drain_and(SLOT, Idle::Any, || true, |_| (), settle));
        all
    }
}

/// `other` on CPU 0 beside `here` on CPU 1; what they hold in the end, in order.
fn beside(
    exchange: &Arc<Exchange>,
    other: impl FnOnce(&Exchange) -> Vec<usize> + Send + 'static,
    here: impl FnOnce(&Exchange) -> Vec<usize>,
) -> Vec<usize> {
    let theirs = exchange.clone();
    let other = thread::spawn(move || other(&theirs));
    run_on(1);
    let mut all = here(exchange);
    all.append(&mut other.join().unwrap());
    all.sort_unstable();
    all
}

/// What a full magazine in `block` holds.
fn full(block: usize, shape: Shape) -> Vec<usize> {
    (0..shape.cap as usize).map(|at| block * 10 + at).collect()
}

#[test]
fn loom_no_magazine_of_an_old_size_goes_into_a_depot() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let exchange = Exchange::new(&SOURCE);
        let mut all = beside(&exchange, |exchange| exchange.put(1), Exchange::resize);
        let left = exchange.depot.len().0;
        all.append(&mut exchange.take());
        assert!(all == full(1, SHAPE) && left == 0 || all == full(1, OTHER), "{all:?}, {left}");
    });
}

#[test]
fn loom_no_magazine_comes_out_of_a_depot_with_another_size() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let exchange = Exchange::new(&SOURCE);
        assert!(exchange.put(1).is_empty());
        let resize = |exchange: &Exchange| [exchange.resize(), exchange.put(2)].concat();
        let mut all = beside(&exchange, Exchange::take, resize);
        all.append(&mut exchange.take());
        assert_eq!(all, [full(1, SHAPE), full(2, OTHER)].concat());
    });
}
