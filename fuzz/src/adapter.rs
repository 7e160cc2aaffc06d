//! The whole adapter: `GlobalAlloc` over a heap of its own with any knobs, driven by operations of the testkit, while the system
//! refuses and knobs are turned.

use crate::decode::{self, Failing};
use crate::ledger::Ledger;
use crate::world::World;
use arbitrary::{Result, Unstructured};
use kmem::{Backend, Kmem, Level};
use kmem_base::classes::Class;
use kmem_base::knobs::{Knob, Settings, When};
use kmem_base::pages::Pages;
use kmem_base::source::Plan;
use kmem_base::sync::{AtomicU32, Ordering};
use kmem_slubq::Slubq;
use kmem_testkit::{Op, RunConfig, Subject, run_with};
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr};

/// The heap of the input that is being run.
static HEAP: AtomicPtr<Slubq> = AtomicPtr::new(null_mut());
/// Never zero: a heap that lives for one input must not be known to `fork`.
static WATCHED: AtomicU32 = AtomicU32::new(1);

struct Heap;

impl Heap {
    fn get() -> &'static Slubq {
        // SAFETY: set for as long as an input is run, and nobody allocates at other times.
        unsafe { &*HEAP.load(Ordering::Relaxed) }
    }
}

// SAFETY: forwards to what keeps the promise.
unsafe impl Backend for Heap {
    fn start(settings: &Settings) -> bool {
        Self::get().start(settings)
    }
    fn alloc_fast(class: Class) -> *mut u8 {
        Self::get().alloc_fast(class)
    }
    fn alloc_slow(class: Class) -> *mut u8 {
        Self::get().alloc_slow(class)
    }
    unsafe fn free(class: Class, object: *mut u8) {
        // SAFETY: the caller's.
        unsafe { Self::get().free(class, object) }
    }
    fn pages() -> &'static Pages {
        Self::get().pages()
    }
    fn trim(level: Level) -> usize {
        Self::get().trim(level)
    }
    fn tick() {
        Self::get().tick();
    }
    fn fork_watch() -> &'static AtomicU32 {
        &WATCHED
    }
    fn prepare_fork() {
        Self::get().prepare_fork();
    }
    unsafe fn after_fork(child: bool) {
        // SAFETY: the caller's.
        unsafe { Self::get().after_fork(child) }
    }
}

/// What happens beside allocating, each time the operations say trim or drain.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Trim(Level),
    Decay,
    Fail(Plan),
    Set(Knob, u64),
    Report,
    Fork,
}

fn turn(u: &mut Unstructured<'_>) -> Result<Turn> {
    Ok(match u.arbitrary::<u8>()? % 16 {
        0 => Turn::Trim(Level::Slabs),
        1 => Turn::Trim(Level::Shared),
        2 => Turn::Trim(Level::Queues),
        3..=5 => Turn::Decay,
        6..=10 => Turn::Fail(u.arbitrary::<Failing>()?.0),
        11..=13 => {
            let (knob, value) = decode::knob(u)?;
            Turn::Set(knob, value)
        }
        14 => Turn::Report,
        _ => Turn::Fork,
    })
}

struct Adapter {
    kmem: Kmem<Heap>,
    ledger: &'static Ledger,
    turns: Mutex<std::vec::IntoIter<Turn>>,
    failing: AtomicBool,
}

/// Carries out the operations that `data` stands for.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let (Ok(knobs), Ok(turns)) = (list(&mut u, 5, decode::knob), list(&mut u, 15, turn)) else { return };
    let ops: Vec<Op> = std::iter::from_fn(|| if u.is_empty() { None } else { u.arbitrary().ok() }).collect();
    let world = World::new(Slubq::new);
    HEAP.store((&raw const *world.it).cast_mut(), Ordering::Relaxed);
    let kmem = knobs.iter().fold(Kmem::over().with(Knob::ArenaMb, 64), |kmem, &(knob, value)| kmem.with(knob, value));
    // A limit stays what it is once it was set.
    let failing = AtomicBool::new(knobs.iter().any(|(knob, _)| *knob == Knob::LimitMb));
    let adapter = Adapter { kmem, ledger: world.ledger, turns: Mutex::new(turns.into_iter()), failing };
    let done = run_with(&adapter, &ops, &RunConfig { slots: 48, check_every: 64 });
    done.unwrap_or_else(|failure| panic!("{failure}\nknobs {knobs:?}"));
    finish(&world);
    HEAP.store(null::<Slubq>().cast_mut(), Ordering::Relaxed);
}

/// As many as the first byte says, of at most `most`.
fn list<T>(u: &mut Unstructured<'_>, most: u8, one: fn(&mut Unstructured<'_>) -> Result<T>) -> Result<Vec<T>> {
    (0..u.arbitrary::<u8>()? % (most + 1)).map(|_| one(u)).collect()
}

/// All was freed: after a trim nothing but metadata is left.
fn finish(world: &World<Slubq>) {
    world.plan(Plan::Never);
    world.it.trim(Level::Queues);
    let retained = world.it.retained();
    assert_eq!((retained.queues, retained.depots, retained.slabs, retained.pages), (0, 0, 0, 0));
    world.it.for_each_cache(|cache| assert_eq!(world.it.live_objects(cache), 0, "{}", cache.name()));
    world.it.check().unwrap_or_else(|broken| panic!("{broken}"));
}

impl Adapter {
    fn turn(&self, otherwise: Level) {
        let turn = self.turns.lock().expect("one thread").next().unwrap_or(Turn::Trim(otherwise));
        let heap = Heap::get();
        decode::trace(&turn);
        match turn {
            Turn::Trim(level) => _ = heap.trim(level),
            Turn::Decay => _ = heap.decay(),
            Turn::Fail(plan) => {
                self.ledger.faulty.plan(plan);
                // What was refused before may be missed later: a start with other knobs, a limit.
                self.failing.fetch_or(plan != Plan::Never, Ordering::Relaxed);
            }
            Turn::Set(knob, value) => self.set(knob, value),
            Turn::Report => {
                let mut table = String::new();
                heap.write_slabinfo(&mut table).expect("a string takes everything");
                assert!(table.lines().count() >= 2);
            }
            Turn::Fork => {
                heap.prepare_fork();
                // SAFETY: just prepared, by this thread.
                unsafe { heap.after_fork(true) };
            }
        }
    }

    fn set(&self, knob: Knob, value: u64) {
        let heap = Heap::get();
        let done = heap.knobs().set(knob, value);
        assert_eq!(done.is_ok(), knob.row().when == When::Any, "{knob:?} {value}");
        if done.is_ok() {
            heap.apply_knobs();
            self.failing.fetch_or(knob == Knob::LimitMb, Ordering::Relaxed);
        }
    }
}

impl Subject for Adapter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { self.kmem.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { self.kmem.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.kmem.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { self.kmem.realloc(block, layout, new_size) }
    }
    /// The largest sizes take their time without adding much.
    fn layout(&self, requested: Layout) -> Layout {
        let size = requested.size();
        let size = if size > 256 << 10 { size / 4 } else { size };
        Layout::from_size_align(size, requested.align()).expect("smaller than one that was valid")
    }
    fn trim(&self) {
        self.turn(Level::Slabs);
    }
    fn drain(&self) {
        self.turn(Level::Queues);
    }
    fn check(&self) -> std::result::Result<(), String> {
        Heap::get().check().map_err(|broken| broken.to_string())
    }
    fn may_fail(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}
