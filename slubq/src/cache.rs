//! A cache: objects of one size, their slabs, queues and tunables. Theory 2 and 6.

use crate::depot::Depot;
use crate::geometry::Geometry;
use crate::shard::Shard;
use crate::slubq::Place;
use crate::stats::Counters;
use kmem_base::classes::{CLASSES, Class};
use kmem_base::name::Name;
use kmem_base::percpu::{Shape, Slot};
use kmem_base::sync::{AtomicU32, Ordering, const_fn, filled};

/// Properties of a cache, to be combined with `|`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u32);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Objects start on a cache line of their own.
    #[doc(alias = "SLAB_HWCACHE_ALIGN")]
    pub const HWCACHE_ALIGN: Self = Self(1);
    /// As little cached as possible: queues of 5, no depot, no empty slabs kept.
    #[doc(alias = "SLAB_LOWMEM")]
    pub const LOWMEM: Self = Self(2);
    /// Never shares slabs with an equal cache.
    #[doc(alias = "SLAB_NO_MERGE")]
    pub const NO_MERGE: Self = Self(4);

    /// True if every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

pub use kmem_base::typed::{Constructor, Destructor};

/// What a cache is to be: the arguments of `kmem_cache_create`.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "kmem_cache_create")]
pub struct Spec<'a> {
    /// Name, for statistics; cut to 31 bytes.
    pub name: &'a str,
    /// Bytes of an object.
    pub size: usize,
    /// Alignment of an object, a power of two.
    pub align: usize,
    /// Properties.
    pub flags: Flags,
    pub(crate) constructor: Option<Constructor>,
    pub(crate) destructor: Option<Destructor>,
    pub(crate) context: *mut (),
}

impl<'a> Spec<'a> {
    /// Objects of `size` bytes aligned to `align`, nothing special.
    #[must_use]
    pub const fn new(name: &'a str, size: usize, align: usize) -> Self {
        let context = core::ptr::null_mut();
        Self { name, size, align, flags: Flags::NONE, constructor: None, destructor: None, context }
    }

    /// With objects that are constructed when their slab is made and destroyed when it goes. Such a cache is never merged.
    ///
    /// # Safety
    /// Both may be called with `context`, from any thread, for as long as the cache lives.
    #[must_use]
    pub const unsafe fn constructed(
        mut self,
        constructor: Option<Constructor>,
        destructor: Option<Destructor>,
        context: *mut (),
    ) -> Self {
        (self.constructor, self.destructor, self.context) = (constructor, destructor, context);
        self
    }

    /// With these properties.
    #[must_use]
    pub const fn with(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Bytes from one object to the next.
    pub(crate) const fn stride(&self) -> Option<usize> {
        let line = if self.flags.has(Flags::HWCACHE_ALIGN) && self.align < 64 { 64 } else { self.align };
        let align = if line < 8 { 8 } else { line };
        let size = if self.size == 0 { 1 } else { self.size };
        match size.checked_next_multiple_of(align) {
            Some(stride) if stride <= Geometry::MAX_SIZE && align <= kmem_base::config::PAGE_SIZE => Some(stride),
            _ => None,
        }
    }
}

/// A tunable of a cache, under its name in sysfs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tunable {
    /// Objects queued per CPU, in main and spare sheaf together: 0 to 10000. 0 turns the queues off.
    CpuQueueSize,
    /// Objects fetched from the slabs at once: 1 to half the queue.
    BatchSize,
    /// Objects in each node's depot: 0 to 1000000.
    SharedQueueSize,
    /// Empty slabs are kept as long as a shard has no more partial slabs than this: 0 to 1000.
    MinPartial,
}

impl Tunable {
    /// Every tunable.
    pub const ALL: [Self; 4] = [Self::CpuQueueSize, Self::BatchSize, Self::SharedQueueSize, Self::MinPartial];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuQueueSize => "cpu_queue_size",
            Self::BatchSize => "batch_size",
            Self::SharedQueueSize => "shared_queue_size",
            Self::MinPartial => "min_partial",
        }
    }

    /// The tunable of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tunable| tunable.name() == name)
    }

    pub(crate) fn accepts(self, value: u32, queue: u32) -> bool {
        match self {
            Self::CpuQueueSize => value <= 10_000,
            Self::BatchSize => 1 <= value && value <= queue.div_ceil(2).max(1),
            Self::SharedQueueSize => value <= 1_000_000,
            Self::MinPartial => value <= 1000,
        }
    }
}

/// The values of a cache's tunables.
#[derive(Debug)]
pub(crate) struct Tunables([AtomicU32; 4]);

impl Tunables {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Self(filled![AtomicU32::new(0); 4])
        }
    }

    pub(crate) fn get(&self, tunable: Tunable) -> u32 {
        self.0[tunable as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, tunable: Tunable, value: u32) {
        self.0[tunable as usize].store(value, Ordering::Relaxed);
    }
}

/// Objects per CPU queue by object size: SLUB+Q's 8/24/54/120 scaled to sheaves that fill their block. Theory 6.1.
#[must_use]
pub(crate) const fn queue_size(size: usize) -> u32 {
    match size {
        0..=256 => 254,
        257..=1024 => 126,
        1025..=4096 => 62,
        4097..=8192 => 30,
        8193..=32768 => 14,
        _ => 6,
    }
}

/// Empty slabs kept per shard: the kernel's 5 to 10 count slabs of one to eight small pages; a slab here is at least sixteen of them.
#[must_use]
pub(crate) const fn min_partial(geometry: &Geometry) -> u32 {
    if geometry.pages == 1 { 2 } else { 1 }
}

/// Shape of a queue's sheaves: half the queue each.
#[must_use]
pub(crate) const fn shape_of(queue: u32) -> Shape {
    if queue == 0 { Shape { order: 0, cap: 0 } } else { Shape::holding(queue.div_ceil(2)) }
}

/// Whether a cache can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Life {
    /// In use.
    Live = 1,
    /// Its last user is destroying it.
    Dying = 3,
    /// Destroyed; the memory of the descriptor stays, so that a late use is noticed.
    Dead = 2,
}

/// See the module. Lives in metadata, which is never freed.
#[derive(Debug)]
pub struct Cache {
    pub(crate) name: Name,
    pub(crate) geometry: Geometry,
    pub(crate) slot: Slot,
    pub(crate) align: u32,
    /// Bytes that the user asked for.
    pub(crate) object: u32,
    pub(crate) flags: Flags,
    pub(crate) constructor: Option<Constructor>,
    pub(crate) destructor: Option<Destructor>,
    pub(crate) context: *mut (),
    pub(crate) life: AtomicU32,
    /// Users: one, and one for each cache merged into it.
    pub(crate) users: AtomicU32,
    pub(crate) tunables: Tunables,
    pub(crate) shards: &'static [Shard],
    pub(crate) depots: &'static [Depot],
}

// SAFETY: everything that changes is atomic or locked; `context` is what the creator of the cache shares with its constructor, under
// the terms of `Spec::constructed`.
unsafe impl Sync for Cache {}
// SAFETY: as above.
unsafe impl Send for Cache {}

impl Cache {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Bytes that its creator asked for.
    #[must_use]
    pub const fn object_size(&self) -> usize {
        self.object as usize
    }

    /// Alignment that its creator asked for.
    #[must_use]
    pub const fn alignment(&self) -> usize {
        self.align as usize
    }

    /// How its objects lie in slabs.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Its place in the per-CPU rows.
    #[inline(always)]
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// Bytes from one object to the next.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.geometry.size as usize
    }

    /// The class it serves, if it is a general cache.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        (self.slot.index() < CLASSES).then(|| Class::from_index(self.slot.index()))
    }

    /// Value of a tunable.
    #[must_use]
    pub fn tunable(&self, tunable: Tunable) -> u32 {
        self.tunables.get(tunable)
    }

    /// What happened in it so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let sum = Counters::new();
        self.shards.iter().for_each(|shard| sum.include(&shard.counters));
        sum
    }

    /// The counters of the CPUs that share the shard.
    pub(crate) fn counters_of(&self, here: Place) -> &Counters {
        &self.shards[here.shard].counters
    }

    /// Slabs it has, full ones included.
    pub(crate) fn slabs(&self) -> usize {
        self.shards.iter().map(|shard| shard.slabs.load(Ordering::Relaxed) as usize).sum()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life.load(Ordering::Acquire) == Life::Dead as u32
    }

    pub(crate) fn is_live(&self) -> bool {
        self.life.load(Ordering::Acquire) == Life::Live as u32
    }

    /// Objects that a depot may hold, in sheaves.
    pub(crate) fn depot_sheaves(&self, shape: Shape) -> u32 {
        self.tunables.get(Tunable::SharedQueueSize) / shape.cap.max(1)
    }
}
