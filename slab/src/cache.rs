//! A cache: objects of one size, their slabs, and what stands before them. Theory 2.

use crate::depot::Depot;
use crate::geometry::Geometry;
use crate::node::Node;
use crate::stats::Counters;
use crate::visit::Visitors;
use kmem_base::classes::CLASSES;
use kmem_base::name::Name;
use kmem_base::percpu::{Shape, Slot};
use kmem_base::sync::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// Properties of a cache, to be combined with `|`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u32);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Objects share no cache line with others, unless several fit into one.
    #[doc(alias = "SLAB_HWCACHE_ALIGN")]
    pub const HWCACHE_ALIGN: Self = Self(1);
    /// Objects that can be given up under pressure: reaped first, and counted apart.
    #[doc(alias = "SLAB_RECLAIM_ACCOUNT")]
    pub const RECLAIM_ACCOUNT: Self = Self(2);
    /// A freed object's memory stays of this cache until every reader that was pinned at that time is gone: [`crate::Slab::pin`].
    #[doc(alias = "SLAB_TYPESAFE_BY_RCU")]
    pub const TYPESAFE: Self = Self(4);
    /// Not to be able to create the cache ends the program.
    #[doc(alias = "SLAB_PANIC")]
    pub const PANIC: Self = Self(8);
    /// Guard words before and behind each object.
    #[doc(alias = "SLAB_RED_ZONE")]
    pub const RED_ZONE: Self = Self(0x100);
    /// Free objects are filled with a pattern. Without effect on constructed and type-safe objects, which keep their state.
    #[doc(alias = "SLAB_POISON")]
    pub const POISON: Self = Self(0x200);
    /// Each object remembers who used it last.
    #[doc(alias = "SLAB_STORE_USER")]
    pub const STORE_USER: Self = Self(0x400);
    /// Each free is checked at once, against the list of free objects too. Implied by the three above.
    #[doc(alias = "SLAB_CONSISTENCY_CHECKS")]
    pub const CHECKS: Self = Self(0x800);
    /// Everything that helps to find a fault.
    pub const DEBUG: Self = Self(0xF00);

    /// True if every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that are for debugging.
    pub(crate) const fn debugging(self) -> Self {
        Self(self.0 & Self::DEBUG.0)
    }

    /// Without those of `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

pub use kmem_base::typed::{Constructor, Destructor};

/// What stands before the slabs. Theory 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Front {
    /// Linux: an array per CPU, refilled and flushed by halves, and a shared array per node.
    #[doc(alias = "array_cache")]
    Arrays,
    /// Bonwick: a loaded and a previous magazine per CPU, and a depot per node.
    #[doc(alias = "kmem_magazine")]
    Magazines,
}

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
    /// What stands before its slabs; `None`: what the knob `front` says.
    pub front: Option<Front>,
    pub(crate) constructor: Option<Constructor>,
    pub(crate) destructor: Option<Destructor>,
    pub(crate) context: *mut (),
}

impl<'a> Spec<'a> {
    /// Objects of `size` bytes aligned to `align`, nothing special.
    #[must_use]
    pub const fn new(name: &'a str, size: usize, align: usize) -> Self {
        let context = core::ptr::null_mut();
        Self { name, size, align, flags: Flags::NONE, front: None, constructor: None, destructor: None, context }
    }

    /// With objects that are constructed when their slab is made and destroyed when it goes.
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

    /// With this front end.
    #[must_use]
    pub const fn behind(mut self, front: Front) -> Self {
        self.front = Some(front);
        self
    }
}

/// How many objects stand before the slabs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tuning {
    /// Objects in a CPU's array, or in each of its two magazines.
    pub(crate) limit: u32,
    /// Objects moved at once.
    pub(crate) batch: u32,
    /// Batches in a node's shared array or depot.
    pub(crate) shared: u32,
}

impl Tuning {
    /// Shape of a CPU's sheaves.
    pub(crate) const fn shape(self) -> Shape {
        if self.limit == 0 { Shape { order: 0, cap: 0 } } else { Shape::holding(self.limit) }
    }

    /// Objects that a node shares.
    pub(crate) const fn shared_objects(self) -> u32 {
        self.shared * self.batch
    }
}

/// Whether a cache can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Life {
    /// In use.
    Live = 1,
    /// Destroyed; the memory of the descriptor stays, so that a late use is noticed.
    Dead = 2,
}

/// See the module: the untyped core of [`crate::Cache`]. Lives in metadata, which is never freed.
#[derive(Debug)]
#[doc(alias = "kmem_cache")]
pub struct RawCache {
    pub(crate) name: Name,
    pub(crate) slot: Slot,
    pub(crate) front: Front,
    /// Without those for debugging, which are the geometry's: they can change.
    pub(crate) flags: Flags,
    pub(crate) align: u32,
    /// Bytes that the user asked for.
    pub(crate) object: u32,
    /// Alignment of general caches' objects may be more than their users asked for; of this, the geometry knows.
    pub(crate) geometry: AtomicPtr<Geometry>,
    pub(crate) constructor: Option<Constructor>,
    pub(crate) destructor: Option<Destructor>,
    pub(crate) context: *mut (),
    pub(crate) life: AtomicU32,
    /// Who looks after it at the moment.
    pub(crate) visitors: Visitors,
    pub(crate) limit: AtomicU32,
    pub(crate) batch: AtomicU32,
    pub(crate) shared: AtomicU32,
    /// Node whose alien arrays the reaper looks at next.
    pub(crate) next_alien: AtomicU32,
    /// Contention of the depots that the last window saw, and windows without any since.
    pub(crate) window: AtomicU32,
    pub(crate) calm: AtomicU32,
    /// Not 0 if the CPUs with that number, less multiples of the array's length, have refilled since the last pass: SLAB's `touched`.
    pub(crate) touched: [AtomicU8; 64],
    pub(crate) nodes: &'static [Node],
    pub(crate) depots: &'static [Depot],
}

// SAFETY: everything that changes is atomic or locked; `context` is what the creator of the cache shares with its constructor, under
// the terms of `Spec::constructed`.
unsafe impl Sync for RawCache {}
// SAFETY: as above.
unsafe impl Send for RawCache {}

impl RawCache {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Bytes that its creator asked for.
    #[doc(alias = "kmem_cache_size")]
    #[must_use]
    pub const fn object_size(&self) -> usize {
        self.object as usize
    }

    /// How its objects lie in slabs.
    #[inline]
    #[must_use]
    pub fn geometry(&self) -> &'static Geometry {
        // SAFETY: geometries live in metadata, which is never freed. Acquire pairs with the Release that published this one.
        unsafe { &*self.geometry.load(Ordering::Acquire) }
    }

    /// What stands before its slabs.
    #[must_use]
    pub const fn front(&self) -> Front {
        self.front
    }

    /// Its properties, those for debugging included.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags | self.geometry().debug
    }

    /// Its place in the per-CPU rows.
    #[inline(always)]
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// What happened in it so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let sum = Counters::new();
        self.nodes.iter().for_each(|node| sum.include(&node.counters));
        sum
    }

    pub(crate) fn tuning(&self) -> Tuning {
        let read = |number: &AtomicU32| number.load(Ordering::Relaxed);
        Tuning { limit: read(&self.limit), batch: read(&self.batch), shared: read(&self.shared) }
    }

    pub(crate) fn set_tuning(&self, tuning: Tuning) {
        self.limit.store(tuning.limit, Ordering::Relaxed);
        self.batch.store(tuning.batch, Ordering::Relaxed);
        self.shared.store(tuning.shared, Ordering::Relaxed);
    }

    /// True if each operation is checked.
    pub(crate) fn is_checked(&self) -> bool {
        self.geometry().debug != Flags::NONE
    }

    pub(crate) fn is_general(&self) -> bool {
        self.slot.index() < CLASSES
    }

    /// True if objects keep a state while they are free.
    pub(crate) fn is_constructed(&self) -> bool {
        self.constructor.is_some() || self.destructor.is_some()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life.load(Ordering::Acquire) == Life::Dead as u32
    }

    /// Notes that `row` has had to refill its array; true if it had already since the last pass.
    pub(crate) fn touch(&self, row: u32) -> bool {
        let touched = &self.touched[row as usize % self.touched.len()];
        let was = touched.load(Ordering::Relaxed) != 0;
        if !was {
            touched.store(1, Ordering::Relaxed);
        }
        was
    }
}

impl core::panic::RefUnwindSafe for RawCache {}
