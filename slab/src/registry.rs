//! Caches coming and going, being tuned, and being debugged.

use crate::cache::{Flags, Front, Life, RawCache, Spec, Tuning};
use crate::config::{LIMITS, MAGAZINES, MOST_QUEUED, NAMED, SHARED_FACTOR, SHARED_MAX_SIZE};
use crate::depot::Depot;
use crate::geometry::{Geometry, Wish};
use crate::node::Node;
use crate::shared::Alien;
use crate::slab::Slab;
use crate::slabref::SlabRef;
use crate::visit::Visitors;
use core::fmt;
use core::panic::Location;
use core::ptr::NonNull;
use kmem_base::classes::{CLASSES, Class};
use kmem_base::fault::{Fault, die};
use kmem_base::knobs::Knob;
use kmem_base::name::Name;
use kmem_base::percpu::Slot;
use kmem_base::sync::{AtomicPtr, AtomicU8, AtomicU32, Ordering, filled};

/// Why a cache could not be created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// The size or alignment cannot be had: objects are at most 256 KiB, aligned to at most 64 KiB, a power of two.
    Layout,
    /// The flags contradict each other: a type-safe object cannot be destroyed, since it may still be read.
    Flags,
    /// There are as many caches as there can be.
    TooMany,
    /// There is no memory.
    NoMemory,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Layout => "objects of that size or alignment cannot be cached",
            Self::Flags => "type-safe objects cannot have a destructor",
            Self::TooMany => "too many caches",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for CreateError {}

/// An object that is in use.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// Its address.
    pub object: usize,
    /// Who used it last, if the cache remembers ([`Flags::STORE_USER`]).
    pub last: Option<&'static Location<'static>>,
}

/// A cache could not be destroyed because objects are in use; or because the system cannot interrupt other CPUs, of whose arrays nothing
/// is known then: what they hold counts as in use.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    /// How many.
    pub live: usize,
    /// The first few of them.
    pub some: [Option<Live>; NAMED],
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects of the cache are in use", self.live)?;
        for live in self.some.iter().flatten() {
            write!(f, "\n  {:#x}", live.object)?;
            if let Some(last) = live.last {
                write!(f, ", last used at {}:{}", last.file(), last.line())?;
            }
        }
        Ok(())
    }
}

impl core::error::Error for Busy {}

/// A cache could not be tuned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TuneError {
    /// A value is out of range: the batch is at least 1 and at most the limit, limit and shared objects at most 8191.
    Value,
    /// The cache checks every operation, and so has no arrays.
    Checked,
    /// The system cannot interrupt other CPUs, so that their arrays cannot be changed.
    Unsupported,
}

impl fmt::Display for TuneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "value out of range",
            Self::Checked => "a cache that checks every operation has no arrays",
            Self::Unsupported => "arrays of other CPUs cannot be changed on this system",
        })
    }
}

impl core::error::Error for TuneError {}

/// Debugging could not be switched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugError {
    /// The cache has slabs: it was used, and what it holds has another layout.
    InUse,
    /// The system cannot interrupt other CPUs, or there is no memory.
    Unsupported,
}

impl fmt::Display for DebugError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "the cache is in use",
            Self::Unsupported => "arrays of other CPUs cannot be changed on this system, or there is no memory",
        })
    }
}

impl core::error::Error for DebugError {}

impl Slab {
    /// Creates a cache.
    ///
    /// # Errors
    /// See [`CreateError`]; with [`Flags::PANIC`] the program ends instead.
    #[doc(alias = "kmem_cache_create")]
    pub fn create(&self, spec: &Spec<'_>) -> Result<&'static RawCache, CreateError> {
        self.try_create(spec).inspect_err(|_| {
            if spec.flags.has(Flags::PANIC) {
                die(Fault::Exhausted, spec.size, spec.name);
            }
        })
    }

    fn try_create(&self, spec: &Spec<'_>) -> Result<&'static RawCache, CreateError> {
        if spec.flags.has(Flags::TYPESAFE) && spec.destructor.is_some() {
            return Err(CreateError::Flags);
        }
        if !self.ready() {
            return Err(CreateError::NoMemory);
        }
        let geometry = Geometry::new(&self.wish(spec)).ok_or(CreateError::Layout)?;
        let mut registry = self.registry.lock();
        let slot = registry.take(&self.retired).ok_or(CreateError::TooMany)?;
        self.build(Name::new(spec.name), spec, geometry, slot).ok_or_else(|| {
            registry.retire(&self.retired, slot);
            CreateError::NoMemory
        })
    }

    fn wish(&self, spec: &Spec<'_>) -> Wish {
        Wish {
            object: spec.size,
            align: spec.align,
            flags: spec.flags | if self.knobs.on(Knob::Check) { Flags::DEBUG } else { Flags::NONE },
            constructed: spec.constructor.is_some() || spec.destructor.is_some(),
            line: self.line.load(Ordering::Relaxed) as usize,
        }
    }

    pub(crate) fn make_general(&self, class: Class) -> Option<&'static RawCache> {
        if !self.ready() {
            return None;
        }
        let _registry = self.registry.lock();
        if let Some(cache) = self.cache(class.index()) {
            return Some(cache);
        }
        // A request's alignment divides its class's size, so that objects are aligned to whatever power of two does.
        let (name, align) = (Name::general(class.size()), 1 << class.size().trailing_zeros());
        let spec = Spec::new(name.as_str(), class.size(), align);
        self.build(name, &spec, Geometry::new(&self.wish(&spec))?, class.index())
    }

    /// Makes the cache and publishes it; under the registry lock.
    fn build(&self, name: Name, spec: &Spec<'_>, geometry: Geometry, slot: usize) -> Option<&'static RawCache> {
        let place = self.meta.alloc(&self.pages, size_of::<RawCache>(), align_of::<RawCache>())?.cast::<RawCache>();
        let geometry = self.kept(geometry)?;
        let nodes = self.topology().nodes as usize;
        let front = spec.front.unwrap_or(if self.knobs.get(Knob::Front) == 0 { Front::Arrays } else { Front::Magazines });
        let cache = RawCache {
            name,
            slot: Slot::new(slot),
            front,
            flags: spec.flags.without(Flags::DEBUG),
            align: spec.align as u32,
            object: spec.size as u32,
            geometry: AtomicPtr::new(geometry.as_ptr()),
            constructor: spec.constructor,
            destructor: spec.destructor,
            context: spec.context,
            life: AtomicU32::new(Life::Live as u32),
            visitors: Visitors::none(),
            limit: AtomicU32::new(0),
            batch: AtomicU32::new(0),
            shared: AtomicU32::new(0),
            next_alien: AtomicU32::new(0),
            window: AtomicU32::new(0),
            calm: AtomicU32::new(0),
            touched: filled![AtomicU8::new(0); 64],
            nodes: self.make_nodes(nodes)?,
            depots: self.made(if front == Front::Magazines { nodes } else { 0 }, || Some(Depot::new()))?,
        };
        let tuning = self.first_tuning(&cache);
        self.take_effect(&cache, tuning);
        // SAFETY: fresh metadata of the right size and alignment, never freed.
        let cache = unsafe {
            place.write(cache);
            place.as_ref()
        };
        self.percpu.shape_first(cache.slot(), tuning.shape(), cache.geometry().size);
        // Release pairs with the Acquire in `cache`.
        self.cache_at(slot).store(place.as_ptr(), Ordering::Release);
        Some(cache)
    }

    fn make_nodes(&self, nodes: usize) -> Option<&'static [Node]> {
        let aliens = if nodes > 1 { nodes } else { 0 };
        self.made(nodes, || Some(Node::new(self.made(aliens, || Some(Alien::new()))?)))
    }

    /// A geometry that stays.
    fn kept(&self, geometry: Geometry) -> Option<NonNull<Geometry>> {
        let place = self.meta.alloc(&self.pages, size_of::<Geometry>(), align_of::<Geometry>())?.cast();
        // SAFETY: fresh metadata of the right size and alignment, never freed.
        unsafe { place.write(geometry) };
        Some(place)
    }

    /// `count` values made by `make`, in metadata.
    fn made<T>(&self, count: usize, make: impl Fn() -> Option<T>) -> Option<&'static [T]> {
        if count == 0 {
            return Some(&[]);
        }
        let place: NonNull<T> = self.meta.alloc(&self.pages, size_of::<T>() * count, align_of::<T>())?.cast();
        for index in 0..count {
            // SAFETY: fresh metadata of the right size and alignment, never freed.
            unsafe { place.add(index).write(make()?) };
        }
        // SAFETY: as above, and all written.
        Some(unsafe { core::slice::from_raw_parts(place.as_ptr(), count) })
    }

    /// What a new cache begins with: SLAB's table, or the magazine for objects of its size.
    fn first_tuning(&self, cache: &RawCache) -> Tuning {
        let size = cache.geometry().size as usize;
        if !self.knobs.on(Knob::Queues) || cache.is_checked() {
            return Tuning { limit: 0, batch: 1, shared: 0 };
        }
        let limit = LIMITS.iter().find(|(above, _)| size > *above).map_or(1, |(_, limit)| *limit);
        let batch = limit.div_ceil(2);
        let shared = if size <= SHARED_MAX_SIZE && self.percpu.cpus() > 1 { SHARED_FACTOR } else { 0 };
        match cache.front() {
            Front::Arrays => Tuning { limit, batch, shared },
            Front::Magazines => {
                let magazine = first_magazine(size);
                Tuning { limit: magazine, batch: magazine, shared: (shared * batch).div_ceil(magazine) }
            }
        }
    }

    pub(crate) fn take_effect(&self, cache: &RawCache, tuning: Tuning) {
        cache.set_tuning(tuning);
        let cpus = self.percpu.cpus().div_ceil(self.topology().nodes);
        for node in cache.nodes {
            let mut lists = node.lock();
            lists.free_limit = ((1 + cpus) * tuning.batch + cache.geometry().objects) as usize;
        }
    }

    /// Destroys a cache: what it holds is drained, its slabs go back. A general cache stays.
    ///
    /// # Errors
    /// [`Busy`] if objects are in use; the cache is then as before.
    ///
    /// # Safety
    /// Nobody uses the cache during the call, and nobody after it succeeds. (A late use is noticed as long as the cache's slot has not been
    /// used again.)
    #[doc(alias = "kmem_cache_destroy")]
    pub unsafe fn destroy(&self, cache: &'static RawCache) -> Result<(), Busy> {
        self.must_live(cache, core::ptr::from_ref(cache).addr());
        if cache.is_general() {
            return Ok(());
        }
        // Without others, who might have objects in hand on their way home, or run destructors after this has returned.
        let _closed = cache.close();
        let drained = self.drain_all(cache);
        self.give_up_slabs(cache);
        let (busy, slabs) = self.busy(cache);
        // Arrays that are still there, if only empty ones, would be the next cache's in this slot.
        if slabs > 0 || !drained {
            return Err(busy);
        }
        let mut registry = self.registry.lock();
        cache.life.store(Life::Dead as u32, Ordering::Release);
        // Not while somebody drains what was this cache's slot.
        self.percpu.undrained(|| self.cache_at(cache.slot().index()).store(core::ptr::null_mut(), Ordering::Release));
        registry.retire(&self.retired, cache.slot().index());
        Ok(())
    }

    /// Objects that are not free, and slabs, once everything is drained.
    fn busy(&self, cache: &RawCache) -> (Busy, usize) {
        let mut busy = Busy { live: 0, some: [None; NAMED] };
        let mut slabs = 0;
        for node in cache.nodes {
            let lists = node.lock();
            let geometry = cache.geometry();
            slabs += lists.slabs();
            for page in lists.full.pages().chain(lists.partial.pages()) {
                // SAFETY: a listed page starts a slab of this cache, and its node is locked.
                let slab = unsafe { SlabRef::new(page, geometry) };
                let free = slab.free_objects();
                for object in (0..geometry.objects).filter(|index| !free.has(*index)).map(|index| slab.object(index)) {
                    if let Some(place) = busy.some.get_mut(busy.live) {
                        *place = Some(Live { object: object.addr(), last: self.last_user(cache, object) });
                    }
                    busy.live += 1;
                }
            }
        }
        (busy, slabs)
    }

    /// Sets how many objects stand before the slabs, while everybody goes on: `limit` in a CPU's array or magazine, `batch` moved at once,
    /// `shared` batches per node. What the old arrays hold goes to the slabs.
    ///
    /// # Errors
    /// See [`TuneError`].
    #[doc(alias = "do_tune_cpucache")]
    pub fn tune(&self, cache: &RawCache, limit: u32, batch: u32, shared: u32) -> Result<(), TuneError> {
        self.must_live(cache, limit as usize);
        let fits = (1..=MOST_QUEUED).contains(&limit)
            && (1..=limit).contains(&batch)
            && shared.checked_mul(batch).is_some_and(|objects| objects <= MOST_QUEUED);
        if !fits {
            return Err(TuneError::Value);
        }
        if cache.is_checked() {
            return Err(TuneError::Checked);
        }
        // A magazine moves whole.
        let batch = if cache.front() == Front::Magazines { limit } else { batch };
        match self.reshape(cache, Tuning { limit, batch, shared }) {
            true if cache.is_checked() => Err(TuneError::Checked),
            true => Ok(()),
            false => Err(TuneError::Unsupported),
        }
    }

    /// Drains everything that stands before the slabs, and gives it another size, unless the cache is checked: that has no arrays. False if
    /// nothing can be drained.
    pub(crate) fn reshape(&self, cache: &RawCache, tuning: Tuning) -> bool {
        let done = self.resize(cache, tuning);
        self.release_surplus(cache);
        done
    }

    /// The same, but slabs stay: no destructor runs.
    fn resize(&self, cache: &RawCache, tuning: Tuning) -> bool {
        let done = self.percpu.drain_and(
            cache.slot(),
            kmem_base::percpu::Idle::Any,
            || self.is_in_place(cache),
            |sheaf| self.dissolve(cache, sheaf, None),
            |old| {
                self.empty_depots(cache, old);
                // Checks are switched where no drain runs, so that this stays true.
                if cache.is_checked() && tuning.limit > 0 {
                    return None;
                }
                self.take_effect(cache, tuning);
                Some(tuning.shape())
            },
        );
        if done {
            self.empty_shared(cache);
        }
        done
    }

    /// Switches checks of a cache that has no slabs: before its first use, or after all of it was given back.
    ///
    /// # Errors
    /// See [`DebugError`]; nothing has changed then.
    #[doc(alias = "slub_debug")]
    pub fn set_debug(&self, cache: &RawCache, debug: Flags) -> Result<(), DebugError> {
        self.must_live(cache, core::ptr::from_ref(cache).addr());
        let spec =
            Spec { flags: cache.flags | debug.debugging(), ..Spec::new(cache.name(), cache.object_size(), cache.align as usize) };
        let wish = Wish { constructed: cache.is_constructed(), flags: spec.flags, ..self.wish(&spec) };
        let geometry = Geometry::new(&wish).and_then(|geometry| self.kept(geometry)).ok_or(DebugError::Unsupported)?;
        // Without visitors, who might have objects in hand.
        let _closed = cache.close();
        let before = cache.tuning();
        let off = Tuning { limit: 0, batch: 1, shared: 0 };
        // Without arrays, so that every object in use is known to a slab; nobody may have brought them back.
        let exchanged = loop {
            if !self.resize(cache, off) {
                return Err(DebugError::Unsupported);
            }
            let exchange = || self.percpu.lease(cache.slot()).shape().is_none().then(|| Self::exchange(cache, geometry));
            if let Some(exchanged) = self.percpu.undrained(exchange) {
                break exchanged;
            }
        };
        if !exchanged {
            self.reshape(cache, before);
            return Err(DebugError::InUse);
        }
        let after = self.first_tuning(cache);
        if after == off || self.resize(cache, after) { Ok(()) } else { Err(DebugError::Unsupported) }
    }

    /// Makes `geometry` the cache's if it has no slabs, nor one on its way out. With every node's lock, since it is read under any.
    fn exchange(cache: &RawCache, geometry: NonNull<Geometry>) -> bool {
        cache.nodes.iter().for_each(Node::prepare_fork);
        // SAFETY: taken above, by this thread.
        let unused = !cache.visitors.any() && cache.nodes.iter().all(|node| unsafe { node.is_unused() });
        if unused {
            // Release pairs with the Acquire in `RawCache::geometry`.
            cache.geometry.store(geometry.as_ptr(), Ordering::Release);
        }
        // SAFETY: taken above, by this thread.
        cache.nodes.iter().for_each(|node| unsafe { node.after_fork() });
        unused
    }
}

/// Where objects of `size` bytes begin.
pub(crate) fn first_magazine(size: usize) -> u32 {
    MAGAZINES.iter().find(|(_, above, _)| size > *above).map_or(1, |(magazine, ..)| *magazine)
}

const _: () = assert!(CLASSES > 0);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use kmem_base::percpu::{Barriers, Mode};
    use kmem_base::source::Plan;

    #[test]
    fn a_slot_is_not_left_with_sheaves_in_it() {
        static SLAB: Slab = Slab::system();
        let barriers = Barriers::new();
        let cache = SLAB.create(&Spec::new("empty", 64, 8)).unwrap();
        if SLAB.mode() != Mode::Restartable {
            return;
        }
        SLAB.tune(cache, 1, 1, 0).unwrap();
        let object = SLAB.alloc_object(cache);
        // Past the array, which is empty, and stays where it is while CPUs cannot be interrupted.
        SLAB.flush(cache, &[object]);
        barriers.plan(Plan::From(0));
        // SAFETY: nobody uses the cache.
        let destroyed = unsafe { SLAB.destroy(cache) };
        barriers.plan(Plan::Never);
        assert_eq!(destroyed.unwrap_err().live, 0);
        // SAFETY: as above.
        unsafe { SLAB.destroy(cache) }.unwrap();
    }
}
