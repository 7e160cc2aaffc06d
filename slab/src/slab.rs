//! The allocator as a whole: what its parts share.

use crate::cache::RawCache;
use crate::epoch::Grace;
use core::panic::Location;
use kmem_base::boot::Boot;
use kmem_base::classes::{CLASSES, Class};
use kmem_base::config::MAX_SLOTS;
use kmem_base::fault::{Fault, die};
use kmem_base::knobs::Knobs;
use kmem_base::meta::Meta;
use kmem_base::pages::Pages;
use kmem_base::percpu::{Blocks, PerCpu, Slot};
use kmem_base::slots::{Retired, Slots};
use kmem_base::source::PageSource;
use kmem_base::sync::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, Lock, Ordering, Rank, const_fn, filled};
use kmem_base::topology::Nodes;

/// Words of the map of caches that the reaper looks at.
const AWAKE_WORDS: usize = MAX_SLOTS.div_ceil(64);

/// Object caches after Bonwick and Linux's SLAB.
///
/// Lives in a `static`, or as long as the process: its caches, and what they hand out, are `'static`. Nothing happens before the first
/// allocation, which sets everything up.
///
/// All zero at first (over the system's memory), so that it costs nothing.
#[derive(Debug)]
#[repr(C)]
pub struct Slab {
    pub(crate) boot: Boot,
    pub(crate) nodes: Nodes,
    /// Not 0 if frees must ask for their object's node.
    pub(crate) numa: AtomicU32,
    /// Bytes of the machine's cache line.
    pub(crate) line: AtomicU32,
    /// When the next pass of the reaper is due, in milliseconds of the coarse clock.
    pub(crate) due: AtomicU64,
    /// Passes so far.
    pub(crate) passes: AtomicU32,
    /// 1 while one is under way.
    pub(crate) reaping: AtomicU32,
    pub(crate) percpu: PerCpu,
    /// The caches of slots from [`CLASSES`] on, made by programs.
    created: [AtomicPtr<RawCache>; MAX_SLOTS - CLASSES],
    /// The general caches, made when first used.
    general: [AtomicPtr<RawCache>; CLASSES],
    /// A bit per slot: the cache may hold something that the reaper can give up.
    pub(crate) awake: [AtomicU64; AWAKE_WORDS],
    pub(crate) grace: Grace,
    pub(crate) meta: Meta,
    pub(crate) blocks: Blocks,
    pub(crate) knobs: Knobs,
    pub(crate) registry: Lock<Slots, { Rank::Registry.of() }>,
    pub(crate) pages: Pages,
    pub(crate) retired: Retired,
}

impl Slab {
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
                boot: Boot::new(),
                nodes: Nodes::new(),
                numa: AtomicU32::new(0),
                line: AtomicU32::new(0),
                due: AtomicU64::new(0),
                passes: AtomicU32::new(0),
                reaping: AtomicU32::new(0),
                percpu: PerCpu::new(),
                created: filled![AtomicPtr::new(core::ptr::null_mut()); MAX_SLOTS - CLASSES],
                general: filled![AtomicPtr::new(core::ptr::null_mut()); CLASSES],
                awake: filled![AtomicU64::new(0); AWAKE_WORDS],
                grace: Grace::new(),
                meta: Meta::new(),
                blocks: Blocks::new(),
                knobs: Knobs::new(),
                registry: Lock::new(Slots::new()),
                pages,
                retired: filled![AtomicU16::new(0); MAX_SLOTS],
            }
        }
    }

    /// Allocates an object of `class`; null if there is no memory.
    ///
    /// ```text
    /// alloc                       one restartable sequence: pop from the CPU's array, or loaded magazine
    ///   alloc_slow                first use: boot, make the cache
    ///     alloc_from
    ///       alloc_array           shared array, partial slabs, free slabs: half an array at a time
    ///       alloc_magazine        previous magazine, depot, slabs: a magazine at a time
    ///         grow                a new slab
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn alloc(&self, class: Class) -> *mut u8 {
        let object = self.alloc_fast(class);
        if object.is_null() { self.alloc_slow(class) } else { object }
    }

    /// The first step of [`Self::alloc`] alone: null if the array is empty, or nothing is set up yet.
    #[inline(always)]
    #[must_use]
    pub fn alloc_fast(&self, class: Class) -> *mut u8 {
        self.percpu.pop(Slot::of(class))
    }

    /// Frees an object of `class`.
    ///
    /// # Safety
    /// `object` came from [`Self::alloc`] with the same class and is dead.
    #[inline(always)]
    pub unsafe fn free(&self, class: Class, object: *mut u8) {
        if self.is_numa() || !self.percpu.push(Slot::of(class), object) {
            self.free_slow(class, object);
        }
    }

    /// True if frees must ask for their object's node.
    #[inline(always)]
    pub(crate) fn is_numa(&self) -> bool {
        self.numa.load(Ordering::Relaxed) != 0
    }

    /// The rest of [`Self::alloc`].
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn alloc_slow(&self, class: Class) -> *mut u8 {
        match self.general(class) {
            Some(cache) => self.alloc_from(cache, Location::caller()),
            None => core::ptr::null_mut(),
        }
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, class: Class, object: *mut u8) {
        match self.general(class) {
            Some(cache) => self.free_to(cache, object, Location::caller()),
            None => die(Fault::Foreign, object.addr(), "no allocation was ever made"),
        }
    }

    /// The general cache of `class`, made if need be. `None` if there is no memory for it.
    #[must_use]
    pub fn general(&self, class: Class) -> Option<&'static RawCache> {
        self.cache(class.index()).or_else(|| self.make_general(class))
    }

    /// The cache in slot `index`.
    #[inline]
    pub(crate) fn cache(&self, index: usize) -> Option<&'static RawCache> {
        // SAFETY: caches live in metadata, which is never freed. Acquire pairs with the Release that published the cache.
        unsafe { self.cache_at(index).load(Ordering::Acquire).as_ref() }
    }

    /// Where the cache in slot `index` is noted.
    pub(crate) fn cache_at(&self, index: usize) -> &AtomicPtr<RawCache> {
        if index < CLASSES { &self.general[index] } else { &self.created[index - CLASSES] }
    }

    /// Every cache there is.
    pub(crate) fn caches(&self) -> impl DoubleEndedIterator<Item = &'static RawCache> + '_ {
        (0..MAX_SLOTS).filter_map(|index| self.cache(index))
    }

    /// True if `cache` is still the one in its slot.
    pub(crate) fn is_in_place(&self, cache: &RawCache) -> bool {
        self.cache(cache.slot().index()).is_some_and(|now| core::ptr::eq(now, cache))
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

    /// Row and node of what this thread does now.
    pub(crate) fn place(&self) -> Here {
        let row = self.percpu.row();
        Here { row, node: self.topology().node(row.unwrap_or(0)) as usize }
    }

    /// Notes that the reaper should look at `cache`.
    #[inline]
    pub(crate) fn wake(&self, cache: &RawCache) {
        let (word, bit) = (&self.awake[cache.slot().index() / 64], 1 << (cache.slot().index() % 64));
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Faults if the cache was destroyed.
    pub(crate) fn must_live(&self, cache: &RawCache, address: usize) {
        if cache.is_dead() {
            die(Fault::Destroyed, address, cache.name());
        }
    }
}

/// See [`Slab::place`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    /// The queues' row; `None` if the CPU is beyond the table.
    pub(crate) row: Option<u32>,
    pub(crate) node: usize,
}

// Only constructors and destructors can unwind, and they are called where every invariant holds.
impl core::panic::RefUnwindSafe for Slab {}
