//! Machines that this one is not: more CPUs, more nodes, nodes without memory, CPUs beyond the table.
//!
//! Threads say themselves which CPU they are on (`on_cpu`), which locked rows go by. With restartable sequences the kernel says it,
//! so that there only as many rows are in use as this machine has CPUs.

mod common;

use common::{Heap, alloc_many, free_all, read};
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::{Mode, fake_cpu, on_cpu};
use kmem_base::source::{Call, GatedSource, Permit};
use kmem_base::topology::possible_cpus;
use kmem_slubq::{Cache, Flags, Level, Slubq, Spec, Tunable};
use kmem_testkit::cpu::{allowed, pin};
use kmem_testkit::{Profile, StressConfig, Subject, ops, run_or_panic, stress_or_panic};
use std::alloc::Layout;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Nodes, CPUs per node.
const MACHINES: [(u32, u32); 4] = [(1, 8), (2, 4), (4, 16), (16, 1)];

fn machine(nodes: u32, per_node: u32) -> Settings {
    Settings::new().with(Knob::ArenaMb, 1024).with(Knob::Nodes, u64::from(nodes)).with(Knob::Cpus, u64::from(nodes * per_node))
}

/// A subject whose threads are on another CPU with every operation.
struct Wandering<'a> {
    heap: &'a Heap,
    cpus: u32,
    steps: AtomicUsize,
}

impl<'a> Wandering<'a> {
    fn new(heap: &'a Heap, cpus: u32) -> Self {
        Self { heap, cpus, steps: AtomicUsize::new(0) }
    }

    fn walk(&self) {
        let step = self.steps.fetch_add(1, Ordering::Relaxed) as u32;
        // Some stay a while, so that queues fill and empty; all CPUs have their turn.
        on_cpu(Some((step / 64).wrapping_mul(0x9E37_79B9) >> 8).map(|random| random % self.cpus));
    }
}

impl Subject for Wandering<'_> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.walk();
        // SAFETY: the caller's, here and below.
        unsafe { self.heap.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.walk();
        // SAFETY: as above.
        unsafe { self.heap.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.walk();
        // SAFETY: as above.
        unsafe { self.heap.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.walk();
        // SAFETY: as above.
        unsafe { self.heap.realloc(block, layout, new_size) }
    }

    fn trim(&self) {
        self.heap.trim();
    }

    fn drain(&self) {
        self.heap.drain();
    }

    fn check(&self) -> Result<(), String> {
        self.heap.check()
    }

    fn may_fail(&self) -> bool {
        self.heap.fails
    }
}

fn oracle_and_stress(subject: &dyn Subject, seed: u64) {
    for profile in [Profile::Small, Profile::Mixed] {
        run_or_panic(subject, &ops(seed, 1500, profile));
    }
    run_or_panic(subject, &ops(seed, 60, Profile::Large));
    let config =
        StressConfig { threads: 6, ops_per_thread: 2500, seed, pass_percent: 30, respawn: true, ..StressConfig::default() };
    stress_or_panic(subject, &config);
    let config = StressConfig { threads: 4, ops_per_thread: 250, slots: 48, profile: Profile::Mixed, ..config };
    stress_or_panic(subject, &config);
}

/// Every row, shard and depot of the machine is worked on, and gives up what it holds.
#[test]
fn every_machine_serves_threads_that_wander_over_all_its_cpus() {
    for (nodes, per_node) in MACHINES {
        println!("{nodes} x {per_node}");
        let heap = Heap::new(&machine(nodes, per_node).with(Knob::PerCpu, 1).with(Knob::StashKb, 8));
        oracle_and_stress(&Wandering::new(&heap, nodes * per_node), u64::from(nodes));
        on_cpu(None);
        heap.slubq.trim(Level::Queues);
        let retained = heap.slubq.retained();
        assert_eq!((retained.queues, retained.depots, retained.slabs), (0, 0, 0));
    }
}

#[test]
fn every_machine_serves_threads_with_restartable_sequences() {
    for (nodes, per_node) in MACHINES {
        println!("{nodes} x {per_node}");
        let heap = Heap::new(&machine(nodes, per_node).with(Knob::StashKb, 8));
        oracle_and_stress(&heap, u64::from(nodes));
    }
}

fn private(heap: &Heap, size: usize) -> &'static Cache {
    heap.cache(&Spec::new("private", size, 8).with(Flags::NO_MERGE))
}

/// Theory 2.6: the row picks the shard, the node the range of shards.
#[test]
fn a_new_slab_belongs_to_a_shard_of_its_node() {
    for (nodes, per_node) in MACHINES {
        let heap = Heap::new(&machine(nodes, per_node).with(Knob::PerCpu, 1));
        for cpu in 0..nodes * per_node {
            on_cpu(Some(cpu));
            let cache = private(&heap, 4096);
            let object = heap.slubq.alloc_object(cache);
            let page = heap.slubq.pages().head_of(object.addr()).unwrap();
            let home = u32::from(page.home.load(Ordering::Relaxed));
            assert_eq!(home / per_node, cpu % nodes, "home {home} of CPU {cpu} on {nodes} x {per_node}");
            free_all(&heap, cache, [object]);
            heap.destroy(cache).unwrap();
        }
    }
    on_cpu(None);
}

/// Theory 3.4: an object that comes back from another node goes to the shard of the CPU that made its slab, and is that CPU's next.
#[test]
fn a_slab_stays_at_home_whoever_frees_into_it() {
    // No queues, so that every object comes from a slab and goes back to it.
    let heap = Heap::new(&machine(4, 4).with(Knob::PerCpu, 1).with(Knob::Queues, 0));
    let cache = private(&heap, 512);
    let per_slab = cache.geometry().objects as usize;
    let mut of_node = Vec::new();
    for node in 0..4 {
        on_cpu(Some(node));
        of_node.push(alloc_many(&heap, cache, per_slab));
    }
    assert_eq!(heap.slubq.cache_info(cache).slabs, 4, "a slab for each node");
    // Everybody's objects are freed on node 3.
    on_cpu(Some(3));
    for objects in &of_node {
        free_all(&heap, cache, objects[..per_slab / 2].iter().copied());
    }
    for node in (0..4_u32).rev() {
        on_cpu(Some(node));
        let again = alloc_many(&heap, cache, per_slab / 2);
        let own = &of_node[node as usize];
        assert!(again.iter().all(|object| own.contains(object)), "node {node} gets its own slab's objects");
    }
    assert_eq!((read(&cache.counters().steal), heap.slubq.cache_info(cache).slabs), (0, 4), "and nobody another's");
    on_cpu(None);
    of_node.into_iter().for_each(|objects| free_all(&heap, cache, objects));
    heap.slubq.check().unwrap();
}

/// Theory 2.6: a depot per node. What one node's CPUs put there is for CPUs of that node.
#[test]
fn a_depot_serves_its_node_alone() {
    let heap = Heap::new(&machine(2, 4).with(Knob::PerCpu, 1).with(Knob::StashKb, 0));
    let cache = private(&heap, 64);
    let sheaf = cache.tunable(Tunable::CpuQueueSize) as usize / 2;
    on_cpu(Some(0));
    let objects = alloc_many(&heap, cache, sheaf * 8);
    free_all(&heap, cache, objects);
    let full = heap.slubq.cache_info(cache).shared;
    assert!(full >= 4 * sheaf, "{full} objects in the depot of node 0");
    let shared = || read(&cache.counters().alloc_shared);
    // Rows are dealt out to nodes in turn: CPU 1 is of node 1, CPU 2 of node 0.
    on_cpu(Some(1));
    let there = alloc_many(&heap, cache, sheaf);
    assert_eq!((shared(), heap.slubq.cache_info(cache).shared), (0, full), "node 1 leaves it alone");
    on_cpu(Some(2));
    let here = alloc_many(&heap, cache, sheaf * 2);
    assert!(shared() >= 2, "node 0 takes whole sheaves from it");
    free_all(&heap, cache, there.into_iter().chain(here));
    on_cpu(None);
    heap.slubq.check().unwrap();
}

/// A machine whose node 1 has no memory: the system refuses what a thread there asks for.
///
/// kmem binds no memory to nodes. It asks for pages wherever a thread runs, and the system answers from the nearest node that has
/// some; a node without memory is then like any other. What could go wrong is the answer of a system bound to strict policies: none.
static MEMORYLESS: GatedSource<Permit> = GatedSource(|call, _| {
    let empty = fake_cpu().is_some_and(|cpu| cpu % 2 == EMPTY_NODE);
    !empty || matches!(call, Call::Purge | Call::Unmap)
});

const EMPTY_NODE: u32 = 1;

fn memoryless() -> Heap {
    let slubq: &'static Slubq = Box::leak(Box::new(Slubq::new(&MEMORYLESS)));
    let mut heap = Heap::over(slubq);
    heap.fails = true;
    assert!(slubq.start(&machine(2, 4).with(Knob::PerCpu, 1)));
    heap
}

#[test]
fn a_node_without_memory_is_served_from_the_others() {
    let heap = memoryless();
    let cache = private(&heap, 2048);
    on_cpu(Some(0));
    let mut objects = alloc_many(&heap, cache, 2000);
    free_all(&heap, cache, objects.drain(..1500));
    // Queues of node 0 give up what they hold; its slabs are partial now.
    heap.slubq.expire(cache, Level::Queues);
    on_cpu(Some(EMPTY_NODE));
    let before = heap.slubq.page_stats();
    loop {
        let object = heap.slubq.alloc_object(cache);
        if object.is_null() {
            break;
        }
        objects.push(object);
    }
    assert!(objects.len() >= 500 + 200, "only {} objects", objects.len());
    assert!(read(&cache.counters().steal) > 0, "slabs of node 0 were taken over");
    assert_eq!(heap.slubq.page_stats().reserved, before.reserved);
    heap.slubq.check().unwrap();
    free_all(&heap, cache, objects);
    on_cpu(Some(0));
    assert!(!heap.slubq.alloc_object(cache).is_null());
    on_cpu(None);
}

#[test]
fn a_machine_with_a_node_without_memory_under_the_oracle() {
    let heap = memoryless();
    oracle_and_stress(&Wandering::new(&heap, 8), 9);
    on_cpu(None);
}

/// Works on every CPU at once, each thread on its own, until some thread has seen that its CPU has no row, if that can be.
fn work_beyond_the_table(settings: &Settings) {
    let heap = Heap::new(settings);
    let cpus = allowed();
    let crowd = Barrier::new(cpus.len());
    let beyond = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for cpu in &cpus {
            let (heap, crowd, beyond) = (&heap, &crowd, &beyond);
            scope.spawn(move || {
                pin(&[*cpu]).unwrap();
                crowd.wait();
                for seed in 0..2000 {
                    beyond.fetch_add(usize::from(heap.slubq.percpu().row().is_none()), Ordering::Relaxed);
                    run_one_thread(heap, seed);
                    if seed > 10 && beyond.load(Ordering::Relaxed) > 0 {
                        break;
                    }
                }
            });
        }
    });
    // With locked rows every CPU shares the one there is.
    let expected = heap.slubq.mode() == Mode::Restartable && cpus.len() > 1;
    assert_eq!(beyond.into_inner() > 0, expected);
    let config = StressConfig { threads: 6, ops_per_thread: 4000, pass_percent: 30, respawn: true, ..StressConfig::default() };
    stress_or_panic(&heap, &config);
}

/// Allocates, fills, verifies and frees.
fn run_one_thread(heap: &Heap, seed: u64) {
    let blocks: Vec<_> = (0..300_u64)
        .map(|at| {
            let layout = Layout::from_size_align(1 + ((seed + at * at) % 600) as usize, 8).unwrap();
            // SAFETY: not empty; the block has that many bytes.
            unsafe {
                let block = heap.alloc(layout);
                assert!(!block.is_null());
                block.write_bytes(at as u8, layout.size());
                (block, layout)
            }
        })
        .collect();
    for (at, (block, layout)) in blocks.into_iter().enumerate() {
        // SAFETY: this thread's live block, filled above.
        unsafe {
            let bytes = std::slice::from_raw_parts(block, layout.size());
            assert!(bytes.iter().all(|byte| *byte == at as u8), "block {at}");
            heap.dealloc(block, layout);
        }
    }
}

#[test]
fn cpus_beyond_the_table_are_served() {
    let one = Settings::new().with(Knob::ArenaMb, 1024).with(Knob::Cpus, 1);
    work_beyond_the_table(&one);
    work_beyond_the_table(&one.with(Knob::Shards, 8));
    work_beyond_the_table(&one.with(Knob::PerCpu, 1));
}

/// A process that is allowed more CPUs than it was when it first allocated.
#[test]
fn cpus_that_are_allowed_later_get_queues() {
    let cpus = allowed();
    let confined = std::thread::spawn(move || {
        pin(&cpus[..1]).unwrap();
        let heap = Heap::new(&Settings::new().with(Knob::ArenaMb, 1024));
        (heap, cpus)
    });
    let (heap, cpus) = confined.join().unwrap();
    let percpu = heap.slubq.percpu();
    if heap.slubq.mode() == Mode::Locked {
        assert_eq!(percpu.cpus(), possible_cpus(), "threads share locked rows, and none is ever beyond them");
        return;
    }
    assert_eq!(percpu.cpus() as usize, cpus[0] + 1);
    let crowd = Barrier::new(cpus.len());
    std::thread::scope(|scope| {
        for cpu in &cpus {
            let (heap, crowd) = (&heap, &crowd);
            scope.spawn(move || {
                pin(&[*cpu]).unwrap();
                crowd.wait();
                (0..2000).take_while(|seed| *seed < 10 || percpu.has_room()).for_each(|seed| run_one_thread(heap, seed));
            });
        }
    });
    if cpus.len() > 1 {
        assert_eq!((percpu.cpus(), percpu.has_room()), (possible_cpus(), false));
    }
    heap.slubq.check().unwrap();
}
