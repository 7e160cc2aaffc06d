//! Caches coming and going, and being tuned.

use crate::cache::{Cache, Flags, Life, Spec, Tunable, Tunables, min_partial, queue_size, shape_of};
use crate::depot::Depot;
use crate::geometry::Geometry;
use crate::shard::Shard;
use crate::slubq::Slubq;
use core::ptr::NonNull;
use kmem_base::classes::{CLASSES, Class};
use kmem_base::config::PAGE_SIZE;
use kmem_base::knobs::Knob;
use kmem_base::name::Name;
use kmem_base::percpu::{Idle, Slot};
use kmem_base::sync::{AtomicU32, Ordering, relax};

/// Why a cache could not be created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// The size or alignment cannot be had: objects are at most 256 KiB, aligned to at most 64 KiB, a power of two.
    Layout,
    /// There are as many caches as there can be.
    TooMany,
    /// There is no memory.
    NoMemory,
}

impl core::fmt::Display for CreateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Layout => "objects of that size or alignment cannot be cached",
            Self::TooMany => "too many caches",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for CreateError {}

/// A cache could not be destroyed because objects are in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    /// How many.
    pub live: usize,
}

impl core::fmt::Display for Busy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} objects of the cache are in use", self.live)
    }
}

impl core::error::Error for Busy {}

/// A tunable could not be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TuneError {
    /// The value is out of range.
    Value,
    /// The system cannot interrupt other CPUs, so that their queues cannot be changed.
    Unsupported,
}

impl core::fmt::Display for TuneError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Value => "value out of range",
            Self::Unsupported => "queues of other CPUs cannot be changed on this system",
        })
    }
}

impl core::error::Error for TuneError {}

/// A cache whose last user is destroying it. Unless that is forgotten the cache is live again, with that user: objects are in use, or a
/// destructor unwinds.
struct Dying<'a> {
    slubq: &'a Slubq,
    cache: &'a Cache,
}

impl Drop for Dying<'_> {
    fn drop(&mut self) {
        let (slubq, cache) = (self.slubq, self.cache);
        let _registry = slubq.registry.lock();
        cache.users.store(1, Ordering::Relaxed);
        cache.life.store(Life::Live as u32, Ordering::Release);
        slubq.reshape(cache, cache.tunables.get(Tunable::CpuQueueSize));
    }
}

impl Slubq {
    /// Creates a cache. Unless it has a constructor or a flag forbids it, it shares the slabs of an equal one, a general cache included.
    ///
    /// # Errors
    /// See [`CreateError`].
    #[doc(alias = "kmem_cache_create")]
    pub fn create(&self, spec: &Spec<'_>) -> Result<&'static Cache, CreateError> {
        let stride = spec.stride().filter(|_| spec.align.is_power_of_two()).ok_or(CreateError::Layout)?;
        if !self.ready() {
            return Err(CreateError::NoMemory);
        }
        if let Some(cache) = self.mergeable(spec, stride) {
            return Ok(cache);
        }
        let mut registry = self.registry.lock();
        let slot = registry.take(&self.retired).ok_or(CreateError::TooMany)?;
        self.build(Name::new(spec.name), spec, stride, slot).ok_or_else(|| {
            registry.retire(&self.retired, slot);
            CreateError::NoMemory
        })
    }

    /// A cache that `spec` can share, with one more user.
    fn mergeable(&self, spec: &Spec<'_>, stride: usize) -> Option<&'static Cache> {
        let alone = spec.flags.has(Flags::NO_MERGE) || spec.constructor.is_some() || spec.destructor.is_some();
        if alone || !self.knobs.on(Knob::Merge) {
            return None;
        }
        if spec.flags == Flags::NONE && stride <= kmem_base::config::MAX_SMALL {
            let class = Class::of(stride);
            // An object's alignment is what divides its size.
            if class.size() == stride {
                return self.general(class);
            }
        }
        // Users come and go under this lock, so that none joins a cache that is being destroyed.
        let _registry = self.registry.lock();
        let equal = |cache: &&Cache| {
            let plain = cache.constructor.is_none() && cache.destructor.is_none() && !cache.flags.has(Flags::NO_MERGE);
            plain && cache.geometry.size as usize == stride && cache.flags == spec.flags && cache.is_live()
        };
        let cache = self.caches().skip_while(|cache| cache.slot().index() < CLASSES).find(equal)?;
        cache.users.fetch_add(1, Ordering::Relaxed);
        Some(cache)
    }

    pub(crate) fn make_general(&self, class: Class) -> Option<&'static Cache> {
        if !self.ready() {
            return None;
        }
        let _registry = self.registry.lock();
        if let Some(cache) = self.cache(class.index()) {
            return Some(cache);
        }
        let name = Name::general(class.size());
        self.build(name, &Spec::new(name.as_str(), class.size(), 8), class.size(), class.index())
    }

    /// Makes the cache and publishes it; under the registry lock.
    fn build(&self, name: Name, spec: &Spec<'_>, stride: usize, slot: usize) -> Option<&'static Cache> {
        let place = self.meta.alloc(&self.pages, size_of::<Cache>(), align_of::<Cache>())?.cast::<Cache>();
        let shards = self.made(self.shards.load(Ordering::Relaxed) as usize, Shard::new)?;
        let depots = self.made(self.topology().nodes as usize, Depot::new)?;
        let cache = Cache {
            name,
            geometry: Geometry::new(stride),
            slot: Slot::new(slot),
            align: spec.align as u32,
            object: spec.size as u32,
            flags: spec.flags,
            constructor: spec.constructor,
            destructor: spec.destructor,
            context: spec.context,
            life: AtomicU32::new(Life::Live as u32),
            users: AtomicU32::new(1),
            tunables: Tunables::new(),
            shards,
            depots,
        };
        self.tune_first(&cache);
        // SAFETY: fresh metadata of the right size and alignment, never freed.
        let cache = unsafe {
            place.write(cache);
            place.as_ref()
        };
        let queue = cache.tunables.get(Tunable::CpuQueueSize);
        self.percpu.shape_first(cache.slot(), shape_of(queue), cache.geometry.size);
        // Release pairs with the Acquire in `cache`.
        self.cache_at(slot).store(place.as_ptr(), Ordering::Release);
        Some(cache)
    }

    fn tune_first(&self, cache: &Cache) {
        let (size, lowmem) = (cache.geometry.size as usize, cache.flags.has(Flags::LOWMEM));
        let queueless = !self.knobs.on(Knob::Queues) || self.knobs.on(Knob::Check);
        let queue = match (queueless, lowmem) {
            (true, _) => 0,
            (_, true) => 5,
            _ => queue_size(size),
        };
        let shared = ((self.knobs.get(Knob::DepotKb) as usize) << 10) / size;
        cache.tunables.set(Tunable::CpuQueueSize, queue);
        cache.tunables.set(Tunable::BatchSize, queue.div_ceil(2).max(1));
        cache.tunables.set(Tunable::SharedQueueSize, if lowmem { 0 } else { shared as u32 });
        cache.tunables.set(Tunable::MinPartial, if lowmem { 0 } else { min_partial(&cache.geometry) });
    }

    /// `count` values made by `make`, in metadata.
    fn made<T>(&self, count: usize, make: impl Fn() -> T) -> Option<&'static [T]> {
        let place: NonNull<T> = self.meta.alloc(&self.pages, size_of::<T>() * count, align_of::<T>())?.cast();
        // SAFETY: fresh metadata of the right size and alignment, never freed.
        unsafe {
            (0..count).for_each(|index| place.add(index).write(make()));
            Some(core::slice::from_raw_parts(place.as_ptr(), count))
        }
    }

    /// Destroys a cache: its queues are drained, its slabs go back. A shared cache only loses a user; a general cache stays.
    ///
    /// # Errors
    /// [`Busy`] if objects are in use; the cache is then as before.
    ///
    /// # Safety
    /// The caller is one of the cache's users, and uses it no more if this succeeds. (A late use is noticed as long as the cache's slot
    /// has not been used again.)
    #[doc(alias = "kmem_cache_destroy")]
    pub unsafe fn destroy(&self, cache: &'static Cache) -> Result<(), Busy> {
        if cache.slot().index() < CLASSES || !self.leave(cache) {
            return Ok(());
        }
        let dying = Dying { slubq: self, cache };
        // Without queues from here on, so that every object comes back to its slab.
        let drained = self.reshape(cache, 0);
        self.release_empty(cache, 0);
        let live = if drained { self.settled_objects(cache) } else { cache.geometry.objects as usize };
        if live > 0 {
            return Err(Busy { live });
        }
        core::mem::forget(dying);
        let mut registry = self.registry.lock();
        cache.life.store(Life::Dead as u32, Ordering::Release);
        // Not while somebody drains what was this cache's slot.
        self.percpu.undrained(|| self.cache_at(cache.slot().index()).store(core::ptr::null_mut(), Ordering::Release));
        registry.retire(&self.retired, cache.slot().index());
        Ok(())
    }

    /// Takes a user away from the cache; true if that was the last one, and nobody can join any more.
    fn leave(&self, cache: &Cache) -> bool {
        let _registry = self.registry.lock();
        self.must_live(cache, core::ptr::from_ref(cache).addr());
        let last = cache.users.fetch_sub(1, Ordering::Relaxed) == 1;
        if last {
            cache.life.store(Life::Dying as u32, Ordering::Release);
        }
        last
    }

    /// Objects in use, once those are back that another thread's pass, or `trim`, is just bringing from a queue to their slab, and the slabs
    /// that it is punching or destroying. Not for ever: it may be this thread's own, in a destructor.
    fn settled_objects(&self, cache: &Cache) -> usize {
        const ROUNDS: usize = 1 << 13;
        let mut round = 0;
        for _ in 0..ROUNDS {
            let quiet = self.is_quiet();
            self.release_empty(cache, 0);
            let live = self.live_objects(cache);
            let gone = live == 0 && cache.slabs() == 0 && cache.destructor.is_none();
            if gone || (quiet && self.is_quiet()) {
                return live;
            }
            relax(&mut round);
        }
        self.live_objects(cache)
    }

    /// Sets a tunable while everybody goes on. A new queue size takes effect at once: what the old queues hold goes to the slabs.
    ///
    /// # Errors
    /// See [`TuneError`].
    pub fn tune(&self, cache: &Cache, tunable: Tunable, value: u32) -> Result<(), TuneError> {
        self.must_live(cache, value as usize);
        let queue = cache.tunables.get(Tunable::CpuQueueSize);
        if !tunable.accepts(value, queue) {
            return Err(TuneError::Value);
        }
        if tunable == Tunable::CpuQueueSize {
            if !self.reshape(cache, value) {
                return Err(TuneError::Unsupported);
            }
            cache.tunables.set(Tunable::BatchSize, value.div_ceil(2).max(1));
        }
        cache.tunables.set(tunable, value);
        Ok(())
    }

    /// Drains everything that holds sheaves of `cache` and gives it queues of `queue` objects.
    fn reshape(&self, cache: &Cache, queue: u32) -> bool {
        self.percpu.drain_and(
            cache.slot(),
            Idle::Any,
            || true,
            |sheaf| self.dissolve(cache, sheaf),
            |old| {
                self.empty_depots(cache, old);
                Some(shape_of(queue))
            },
        )
    }
}

const _: () = assert!(align_of::<Cache>() <= PAGE_SIZE && align_of::<Shard>() == 128 && align_of::<Depot>() == 128);
