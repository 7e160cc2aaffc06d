//! The allocator as a whole: what its parts share.

use crate::cache::Cache;
use kmem_base::boot::Boot;
use kmem_base::classes::{CLASSES, Class};
use kmem_base::config::MAX_SLOTS;
use kmem_base::knobs::Knobs;
use kmem_base::meta::Meta;
use kmem_base::pages::Pages;
use kmem_base::percpu::{Blocks, PerCpu, Slot};
use kmem_base::slots::{Retired, Slots};
use kmem_base::source::PageSource;
use kmem_base::sync::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Lock, Ordering, Rank, const_fn, filled};
use kmem_base::topology::Nodes;

/// SLUB with per-CPU queues and bitmap free tracking.
///
/// Lives in a `static`, or as long as the process: its caches, and what they hand out, are `'static`. Nothing happens before the first
/// allocation, which sets everything up.
///
/// In this order, so that what every program touches lies on few OS pages; and all zero at first (over the system's memory), so that
/// the rest costs nothing.
#[derive(Debug)]
#[repr(C)]
pub struct Slubq {
    pub(crate) boot: Boot,
    pub(crate) shards: AtomicU32,
    pub(crate) nodes: Nodes,
    /// When something is due for decay, in milliseconds of the coarse clock.
    pub(crate) due: AtomicU64,
    /// When the next pass begins; until then, what is due is more of the last one.
    pub(crate) pass: AtomicU64,
    /// When the last step of decay ended, in microseconds.
    pub(crate) stepped: AtomicU64,
    /// What is left to do of the last pass: see `reap`.
    pub(crate) stage: AtomicU32,
    /// Pages in use from which on another pass over the caches begins, whatever the time.
    pub(crate) crowded: AtomicUsize,
    /// When what has been spent on purging for the heap's having shrunk is paid off, in microseconds.
    pub(crate) shrunk: AtomicU64,
    /// 1 while a decay pass runs. Not a lock: nobody waits for it, and a pass may run destructors.
    pub(crate) decaying: AtomicU32,
    /// Threads that give up what caches hold, because they were told to.
    pub(crate) expiring: AtomicU32,
    /// Slot at which the next pass starts to drain.
    pub(crate) drained: AtomicU32,
    pub(crate) percpu: PerCpu,
    /// The caches of slots from [`CLASSES`] on, made by programs.
    created: [AtomicPtr<Cache>; MAX_SLOTS - CLASSES],
    /// The general caches, made when first used.
    general: [AtomicPtr<Cache>; CLASSES],
    pub(crate) meta: Meta,
    pub(crate) blocks: Blocks,
    pub(crate) knobs: Knobs,
    pub(crate) registry: Lock<Slots, { Rank::Registry.of() }>,
    pub(crate) pages: Pages,
    pub(crate) retired: Retired,
}

impl Slubq {
    const_fn! {
        /// An allocator that takes its memory from `source`.
        #[must_use]
        pub const fn new(source: &'static dyn PageSource) -> Self {
            Self::over(Pages::new(source))
        }
    }

    const_fn! {
        /// An allocator that takes its memory from the system.
        #[must_use]
        pub const fn system() -> Self {
            Self::over(Pages::system())
        }
    }

    const_fn! {
        const fn over(pages: Pages) -> Self {
            Self {
                percpu: PerCpu::new(),
                created: filled![AtomicPtr::new(core::ptr::null_mut()); MAX_SLOTS - CLASSES],
                pages,
                general: filled![AtomicPtr::new(core::ptr::null_mut()); CLASSES],
                meta: Meta::new(),
                blocks: Blocks::new(),
                knobs: Knobs::new(),
                registry: Lock::new(Slots::new()),
                retired: filled![AtomicU16::new(0); MAX_SLOTS],
                boot: Boot::new(),
                shards: AtomicU32::new(0),
                nodes: Nodes::new(),
                due: AtomicU64::new(0),
                pass: AtomicU64::new(0),
                stepped: AtomicU64::new(0),
                stage: AtomicU32::new(0),
                crowded: AtomicUsize::new(0),
                shrunk: AtomicU64::new(0),
                decaying: AtomicU32::new(0),
                expiring: AtomicU32::new(0),
                drained: AtomicU32::new(0),
            }
        }
    }

    /// Allocates an object of `class`; null if there is no memory.
    ///
    /// ```text
    /// alloc                       one restartable sequence: pop from the main sheaf
    ///   alloc_slow                first use: boot, make the cache
    ///     alloc_from              spare sheaf, stash, depot, then a batch from the slabs
    ///       refill                own shard, then other shards, then a new slab
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn alloc(&self, class: Class) -> *mut u8 {
        let object = self.alloc_fast(class);
        if object.is_null() { self.alloc_slow(class) } else { object }
    }

    /// The first step of [`Self::alloc`] alone: null if the main sheaf is empty, or nothing is set up yet.
    #[inline(always)]
    #[must_use]
    pub fn alloc_fast(&self, class: Class) -> *mut u8 {
        self.percpu.pop(Slot::of(class))
    }

    /// Frees an object of `class`.
    ///
    /// ```text
    /// free                        one restartable sequence: push onto the main sheaf
    ///   free_slow
    ///     free_to                 spare sheaf, or an empty one; the full one goes to
    ///       put_away              the stash, the depot, or
    ///         flush               the slabs, run by run
    /// ```
    ///
    /// # Safety
    /// `object` came from [`Self::alloc`] with the same class and is dead.
    #[inline(always)]
    pub unsafe fn free(&self, class: Class, object: *mut u8) {
        if !self.percpu.push(Slot::of(class), object) {
            self.free_slow(class, object);
        }
    }

    /// The rest of it.
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn alloc_slow(&self, class: Class) -> *mut u8 {
        let object = self.alloc_locked(class);
        if !object.is_null() {
            return object;
        }
        match self.general(class) {
            Some(cache) => self.alloc_from(cache, crate::Context::Blocking),
            None => core::ptr::null_mut(),
        }
    }

    /// [`Self::alloc_fast`] where rows are locked; null elsewhere.
    #[inline]
    #[must_use]
    pub fn alloc_locked(&self, class: Class) -> *mut u8 {
        self.percpu.pop_locked(Slot::of(class))
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, class: Class, object: *mut u8) {
        if self.percpu.push_locked(Slot::of(class), object) {
            return;
        }
        match self.general(class) {
            Some(cache) => self.free_to(cache, object),
            None => kmem_base::fault::die(kmem_base::fault::Fault::Foreign, object.addr(), "no allocation was ever made"),
        }
    }

    /// The general cache of `class`, made if need be. `None` if there is no memory for it.
    #[must_use]
    pub fn general(&self, class: Class) -> Option<&'static Cache> {
        self.cache(class.index()).or_else(|| self.make_general(class))
    }

    /// The cache in slot `index`.
    #[inline]
    pub(crate) fn cache(&self, index: usize) -> Option<&'static Cache> {
        // SAFETY: caches live in metadata, which is never freed. Acquire pairs with the Release that published the cache.
        unsafe { self.cache_at(index).load(Ordering::Acquire).as_ref() }
    }

    /// Where the cache in slot `index` is noted.
    pub(crate) fn cache_at(&self, index: usize) -> &AtomicPtr<Cache> {
        if index < CLASSES { &self.general[index] } else { &self.created[index - CLASSES] }
    }

    /// Every cache there is.
    pub(crate) fn caches(&self) -> impl Iterator<Item = &'static Cache> + '_ {
        (0..MAX_SLOTS).filter_map(|index| self.cache(index))
    }

    /// The page supply.
    #[must_use]
    pub const fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The knobs.
    #[must_use]
    pub const fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// The per-CPU queues.
    #[must_use]
    pub const fn percpu(&self) -> &PerCpu {
        &self.percpu
    }

    /// Shard and node for what this thread does now.
    pub(crate) fn place(&self) -> Place {
        let (row, shards) = (self.percpu.row(), self.shards.load(Ordering::Relaxed).max(1));
        let (topology, number) = (self.topology(), row.unwrap_or(0));
        // Shards per node are a power of two.
        let (node, per_node) = if topology.nodes == 1 { (0, shards) } else { (topology.node(number), shards / topology.nodes) };
        Place { row, shard: (node * per_node + (number & (per_node - 1))) as usize, node: node as usize }
    }
}

/// See [`Slubq::place`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The queues' row; `None` if the CPU is beyond the table.
    pub(crate) row: Option<u32>,
    pub(crate) shard: usize,
    pub(crate) node: usize,
}

// Only constructors and destructors can unwind, and they are called where every invariant holds.
impl core::panic::RefUnwindSafe for Slubq {}
impl core::panic::RefUnwindSafe for Cache {}

const _: () = assert!(CLASSES < MAX_SLOTS);

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;
    use kmem_base::knobs::{Knob, Settings};
    use kmem_base::percpu::on_cpu;
    use std::boxed::Box;

    /// Theory 3.4: each node has shards of its own, and its CPUs take them in turn.
    #[test]
    fn a_cpu_works_on_a_shard_of_its_node() {
        for (nodes, shards) in [(1, 1), (1, 4), (1, 16), (2, 8), (4, 16), (4, 4)] {
            let slubq: &'static Slubq = Box::leak(Box::new(Slubq::system()));
            let settings =
                Settings::new().with(Knob::PerCpu, 1).with(Knob::Cpus, 16).with(Knob::ArenaMb, 64).with(Knob::DecayMs, 0);
            assert!(slubq.start(&settings.with(Knob::Nodes, nodes).with(Knob::Shards, shards)));
            let (topology, per_node) = (slubq.topology(), shards / nodes);
            for cpu in 0..16 {
                on_cpu(Some(cpu));
                let (here, node) = (slubq.place(), u64::from(topology.node(cpu)));
                let shard = node * per_node + u64::from(cpu) % per_node;
                assert_eq!(
                    (here.row, here.node as u64, here.shard as u64),
                    (Some(cpu), node, shard),
                    "{nodes} nodes, {shards} shards"
                );
            }
        }
    }
}
