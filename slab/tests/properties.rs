//! Random sequences that shrink, while the heap is reaped, shrunk, tuned and moved from CPU to CPU after any operation, on machines of
//! several shapes, over a system that refuses. Longer with `KMEM_CASES=200`.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::pages::Kind;
use kmem_base::percpu::on_cpu;
use kmem_base::source::{Call, Plan};
use kmem_slab::{Flags, Front, RawCache, Spec, TuneError};
use kmem_testkit::{Op, Profile, Subject, property, run};
use std::alloc::Layout;
use std::sync::atomic::{AtomicU64, Ordering};

const FRONTS: [Front; 2] = [Front::Arrays, Front::Magazines];

fn cases(few: u32) -> u32 {
    std::env::var("KMEM_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(few)
}

/// A machine of nodes x CPUs, in rows behind locks, so that any thread can be on any CPU.
fn machine(nodes: u64, cpus: u64) -> Settings {
    let settings = Settings::new().with(Knob::ArenaMb, 64).with(Knob::DecayMs, 0).with(Knob::PerCpu, 1);
    settings.with(Knob::Nodes, nodes).with(Knob::Cpus, nodes * cpus)
}

/// One cache of a heap. After each operation something else may happen, by numbers that follow from those before.
struct Disturbed<'a> {
    heap: &'a Heap,
    cache: &'static RawCache,
    layout: Layout,
    /// CPUs to move between.
    cpus: u32,
    /// What a fault plan is drawn from, or 0: the system never refuses.
    faults: u64,
    state: AtomicU64,
}

impl<'a> Disturbed<'a> {
    fn new(heap: &'a Heap, spec: &Spec<'_>, cpus: u32, faults: u64) -> Self {
        let layout = Layout::from_size_align(spec.size, spec.align).unwrap();
        let cache = heap.slab.create(spec).unwrap();
        Self { heap, cache, layout, cpus, faults, state: AtomicU64::new(1) }
    }

    fn draw(&self) -> u64 {
        // splitmix64: the state is a counter.
        let mut x = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn disturb(&self) {
        let (slab, cache, dice) = (self.heap.slab, self.cache, self.draw());
        on_cpu(Some((dice >> 32) as u32 % self.cpus));
        match dice % 24 {
            0 | 1 => {
                slab.reap_tick();
            }
            2 => {
                slab.shrink(cache);
            }
            3 => {
                let limit = 1 + self.draw() as u32 % 150;
                let batch = 1 + self.draw() as u32 % limit;
                match slab.tune(cache, limit, batch, self.draw() as u32 % 9) {
                    Ok(()) => assert_eq!(slab.row(cache).limit, limit as usize),
                    Err(error) => assert!(error == TuneError::Checked && cache.geometry().debug != Flags::NONE),
                }
            }
            4 => {
                slab.trim_slabs();
            }
            5 if self.faults != 0 => self.heap.source.plan(self.plan()),
            6 => slab.check().unwrap(),
            _ => {}
        }
    }

    fn plan(&self) -> Plan {
        let n = self.draw() % 5;
        match self.draw() % 6 {
            0 | 1 => Plan::Nth(n),
            2 => Plan::From(n),
            3 => Plan::Kind(Call::ALL[n as usize]),
            4 => Plan::Random { seed: self.faults, one_in: 1 + n },
            _ => Plan::Never,
        }
    }

    /// Nothing is in use any more, and nothing is lost.
    fn finish(self) {
        self.heap.source.plan(Plan::Never);
        self.heap.slab.check().unwrap();
        assert_eq!(self.heap.slab.live_objects(self.cache), 0);
        self.heap.slab.verify(self.cache).unwrap();
        self.heap.destroy(self.cache).unwrap();
    }
}

impl Subject for Disturbed<'_> {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        self.disturb();
        self.heap.slab.alloc_object(self.cache)
    }

    unsafe fn dealloc(&self, object: *mut u8, _: Layout) {
        self.disturb();
        // SAFETY: the testkit frees what it allocated, once.
        unsafe { self.heap.slab.free_object(self.cache, object) };
    }

    fn layout(&self, _: Layout) -> Layout {
        self.layout
    }

    fn trim(&self) {
        self.heap.slab.reap_tick();
    }

    fn drain(&self) {
        self.heap.slab.shrink(self.cache);
    }

    fn check(&self) -> Result<(), String> {
        self.heap.slab.check().map_err(|broken| broken.to_string())
    }

    fn may_fail(&self) -> bool {
        self.faults != 0
    }
}

/// A sequence on a cache of its own, which is gone afterwards.
fn disturbed(
    heap: &Heap,
    spec: &Spec<'_>,
    cpus: u32,
    faults: u64,
    ops: &[Op],
) -> Result<kmem_testkit::Report, kmem_testkit::Failure> {
    let subject = Disturbed::new(heap, spec, cpus, faults);
    let report = run(&subject, ops)?;
    subject.finish();
    Ok(report)
}

#[test]
fn nothing_is_lost_however_caches_are_disturbed() {
    for front in FRONTS {
        let heap = Heap::new(&machine(1, 4));
        for (size, flags) in [(8, Flags::NONE), (100, Flags::TYPESAFE), (4096, Flags::HWCACHE_ALIGN), (24, Flags::DEBUG)] {
            let spec = Spec::new("disturbed", size, 8).with(flags).behind(front);
            property(Profile::Small, cases(8), |ops| disturbed(&heap, &spec, 4, 0, ops));
        }
    }
}

#[test]
fn nothing_is_lost_on_machines_of_any_shape() {
    for (nodes, cpus) in [(1, 8), (2, 4), (4, 16)] {
        for front in FRONTS {
            let heap = Heap::new(&machine(nodes, cpus));
            let spec = Spec::new("shaped", 200, 8).behind(front);
            property(Profile::Small, cases(8), |ops| disturbed(&heap, &spec, (nodes * cpus) as u32, 0, ops));
        }
    }
}

#[test]
fn nothing_is_lost_when_the_system_refuses() {
    for front in FRONTS {
        for (nodes, size) in [(1, 2000), (2, 30_000)] {
            let mut heap = Heap::new(&machine(nodes, 4));
            heap.fails = true;
            for faults in 1..=3 {
                let spec = Spec::new("refused", size, 8).behind(front);
                property(Profile::Small, cases(6), |ops| disturbed(&heap, &spec, nodes as u32 * 4, faults, ops));
            }
        }
    }
}

#[test]
fn a_node_without_memory_is_served_from_the_others() {
    for front in FRONTS {
        let heap = Heap::new(&machine(2, 2).with(Knob::ArenaMb, 4));
        let cache = heap.slab.create(&Spec::new("remote", 1000, 8).behind(front)).unwrap();
        // Node 0, of CPUs 0 and 2, has partial slabs; then no memory is left, as for a node of which the kernel has none to give.
        on_cpu(Some(0));
        let mut held = heap.alloc_many(cache, 2000);
        heap.free_all(cache, held.iter().copied().step_by(2));
        held = held.into_iter().skip(1).step_by(2).collect();
        heap.source.plan(Plan::From(0));
        let left = || heap.slab.pages().alloc(1, 1, Kind::Meta).is_some();
        while left() {}
        on_cpu(Some(1));
        held.append(&mut heap.alloc_many(cache, 300));
        heap.slab.check().unwrap();
        assert_eq!(heap.slab.live_objects(cache), held.len());
        on_cpu(Some(0));
        heap.free_all(cache, held);
        heap.source.plan(Plan::Never);
        heap.slab.check().unwrap();
        assert_eq!(heap.slab.live_objects(cache), 0);
        heap.destroy(cache).unwrap();
    }
}
