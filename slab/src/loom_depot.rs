//! Models of a depot beside a change of its magazines' size: the drain changes it, and empties the depot meanwhile.

extern crate std;

use crate::depot::Depot;
use crate::explore::explore;
use kmem_base::percpu::{Idle, PerCpu, Shape, Sheaf, Slot, claimed, run_on};
use kmem_base::source::{PageSource, Scratch};
use kmem_base::sync::AtomicU64;
use loom::thread;
use std::sync::Arc;
use std::vec::Vec;

const SLOT: Slot = Slot::new(0);
const SHAPE: Shape = Shape { order: 6, cap: 3 };
const OTHER: Shape = Shape { order: 7, cap: 9 };

/// A depot, the CPUs' magazines to go with it, and memory for more.
struct Exchange {
    percpu: PerCpu,
    depot: Depot,
    locks: AtomicU64,
    memory: *mut u8,
}

// SAFETY: each thread of a model uses blocks of its own numbers.
unsafe impl Send for Exchange {}
// SAFETY: as above.
unsafe impl Sync for Exchange {}

impl Exchange {
    fn new(source: &'static Scratch) -> Arc<Self> {
        source.begin();
        let memory = source.map(4096, 4096).unwrap().as_ptr();
        let percpu = PerCpu::new();
        assert!(percpu.boot(source, 2, false));
        percpu.shape_first(SLOT, SHAPE, 64);
        Arc::new(Self { percpu, depot: Depot::new(), locks: AtomicU64::new(0), memory })
    }

    /// Puts a full magazine in block `block` into the depot; its objects if it cannot.
    fn put(&self, block: usize) -> Vec<usize> {
        let lease = self.percpu.lease(SLOT);
        let Some(shape) = lease.shape() else { return objects(block, SHAPE) };
        // SAFETY: blocks of 128 bytes, whatever the shape.
        let mut magazine = unsafe { Sheaf::new(self.memory.add(block * 128), shape) };
        objects(block, shape).iter().for_each(|object| assert!(magazine.push(core::ptr::without_provenance_mut(*object))));
        claimed(&magazine);
        held(self.depot.put_full(&self.percpu, SLOT, &lease, magazine, 9, &self.locks).err())
    }

    fn take(&self) -> Vec<usize> {
        held(self.depot.take_full(&self.percpu, SLOT, &self.percpu.lease(SLOT), None, &self.locks).ok())
    }

    /// Changes the size of magazines. What the depot held.
    fn resize(&self) -> Vec<usize> {
        let mut all = Vec::new();
        let settle = |old| {
            while let Some(magazine) = self.depot.take_any(old) {
                all.append(&mut held(Some(magazine)));
            }
            Some(OTHER)
        };
        assert!(self.percpu.drain_and(SLOT, Idle::Any, || true, |_| (), settle));
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

/// What a magazine in `block` holds.
fn objects(block: usize, shape: Shape) -> Vec<usize> {
    (0..shape.cap as usize).map(|at| block * 10 + at).collect()
}

/// The objects of a magazine that is the caller's.
fn held(magazine: Option<Sheaf>) -> Vec<usize> {
    magazine.map_or_else(Vec::new, |magazine| {
        claimed(&magazine);
        magazine.objects().iter().map(|object| object.addr()).collect()
    })
}

#[test]
fn loom_no_magazine_of_an_old_size_goes_into_a_depot() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let exchange = Exchange::new(&SOURCE);
        let mut all = beside(&exchange, |exchange| exchange.put(1), Exchange::resize);
        let left = exchange.depot.len().0;
        all.append(&mut exchange.take());
        assert!(all == objects(1, SHAPE) && left == 0 || all == objects(1, OTHER), "{all:?}, {left}");
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
        assert_eq!(all, [objects(1, SHAPE), objects(2, OTHER)].concat());
    });
}
