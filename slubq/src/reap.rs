//! Memory coming back: shrink, expire, decay. Theory 6.5.

use crate::cache::{Cache, Tunable};
use crate::shard::{list, unlist_if_empty};
use crate::slab::Slab;
use crate::slubq::Slubq;
use kmem_base::clock::now_ms;
use kmem_base::config::MAX_SLOTS;
use kmem_base::knobs::Knob;
use kmem_base::pages::{Page, PageList};
use kmem_base::percpu::{Idle, Shape};
use kmem_base::sync::{AtomicU32, Ordering};

/// How much to give up, in SLUB+Q's order of sacrifice: each level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Entirely free slabs.
    Slabs,
    /// What the depots hold.
    Shared,
    /// What the CPUs' queues hold.
    Queues,
}

/// A decay pass, until dropped: a destructor may unwind out of it.
struct Pass<'a>(&'a AtomicU32);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Empty slabs on their way out. If a destructor unwinds, those that it leaves are listed again.
struct Leaving<'a> {
    cache: &'a Cache,
    slabs: PageList,
}

impl Leaving<'_> {
    fn next(&mut self) -> Option<&'static Page> {
        let page = self.slabs.first()?;
        // SAFETY: it is on this list, which nobody else knows.
        unsafe { self.slabs.remove(page) };
        Some(page)
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        while let Some(page) = self.next() {
            // SAFETY: it starts a slab of this cache, which is on no list.
            drop(list(self.cache.shards, &unsafe { Slab::new(page, &self.cache.geometry) }));
        }
    }
}

/// Steps by which partial slabs are sorted.
const GRADES: usize = 32;
/// Queues of at most this many caches are drained in one decay pass: each costs two barriers.
const DRAINS_PER_PASS: u32 = 8;

impl Slubq {
    /// Gives up all that the cache holds without need: drains its queues, releases every entirely free slab, and sorts the partial
    /// slabs, fullest first, so that the emptier ones get a chance to become empty. Returns pages released.
    #[doc(alias = "kmem_cache_shrink")]
    pub fn shrink(&self, cache: &Cache) -> usize {
        let released = self.expire(cache, Level::Queues);
        for shard in cache.shards {
            sort(&mut shard.lock(), cache);
        }
        released
    }

    /// Gives up what `level` says, whether in use lately or not. Returns pages released.
    pub fn expire(&self, cache: &Cache, level: Level) -> usize {
        let before = cache.slabs();
        if level >= Level::Shared {
            while let Some(sheaf) =
                cache.depots.iter().find_map(|depot| depot.take(&self.percpu, cache.slot(), &self.percpu.lease(cache.slot())))
            {
                self.dissolve(cache, sheaf);
            }
        }
        if level >= Level::Queues {
            self.drain(cache, Idle::Any);
        }
        self.release_empty(cache, 0);
        // What went back on the way counts too; what others made meanwhile does not.
        before.saturating_sub(cache.slabs()) * cache.geometry.pages as usize
    }

    /// Gives up everything that is not in use, in every cache, and gives free pages back to the system. Returns bytes that went back.
    #[doc(alias = "malloc_trim")]
    pub fn trim(&self, level: Level) -> usize {
        for cache in self.caches() {
            if level == Level::Queues {
                self.shrink(cache);
            } else {
                self.expire(cache, level);
            }
        }
        self.pages.purge(true)
    }

    /// Runs a decay pass if one is due. Called on slow paths: no thread is needed.
    #[inline]
    pub(crate) fn tick(&self) {
        let now = now_ms();
        if now >= self.due.load(Ordering::Relaxed) {
            self.tick_slow(now);
        }
    }

    #[cold]
    fn tick_slow(&self, now: u64) {
        let (interval, due) = (self.knobs.get(Knob::DecayMs), self.due.load(Ordering::Relaxed));
        let next = if interval == 0 { u64::MAX } else { now + interval };
        let mine = self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // The first time only sets the clock.
        if mine && now >= due && due != 0 && interval != 0 {
            // The caller may be a global allocator, in which no destructor may run.
            self.decay_pass(|cache| cache.destructor.is_none());
        }
    }

    /// A decay pass: what nobody has touched since the last one goes, in the order of [`Level`], then pages that have been free since.
    /// Returns bytes that went back to the system; nothing if another thread is at it.
    pub fn decay(&self) -> usize {
        self.decay_pass(|_| true)
    }

    fn decay_pass(&self, wanted: impl Fn(&Cache) -> bool) -> usize {
        if self.decaying.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return 0;
        }
        let _over = Pass(&self.decaying);
        let (start, mut drains) = (self.drained.load(Ordering::Relaxed) as usize, DRAINS_PER_PASS);
        // From where the last pass ran out of drains, so that every cache has its turn.
        for index in (start..MAX_SLOTS).chain(0..start) {
            if let Some(cache) = self.cache(index).filter(|cache| wanted(cache)) {
                self.decay_cache(cache, &mut drains);
            }
        }
        self.pages.decay()
    }

    fn decay_cache(&self, cache: &Cache, drains: &mut u32) {
        for depot in cache.depots {
            while let Some(sheaf) = depot.take_idle(&self.percpu, cache.slot()) {
                self.dissolve(cache, sheaf);
            }
        }
        if *drains > 0 && self.percpu.has_idle(cache.slot()) {
            *drains -= 1;
            if *drains == 0 {
                self.drained.store(cache.slot().index() as u32, Ordering::Relaxed);
            }
            self.drain(cache, Idle::Untouched);
        }
        self.percpu.mark(cache.slot());
        let touched = cache.shards.iter().any(|shard| shard.touched.swap(0, Ordering::Relaxed) != 0);
        self.release_empty(cache, if touched { cache.tunables.get(Tunable::MinPartial) } else { 0 });
    }

    /// Takes the cache's sheaves out of the CPUs' queues and dissolves them, unless the cache has been destroyed.
    fn drain(&self, cache: &Cache, which: Idle) {
        let slot = cache.slot();
        self.percpu.drain_and(
            slot,
            which,
            || self.cache(slot.index()).is_some_and(|now| core::ptr::eq(now, cache)),
            |sheaf| self.dissolve(cache, sheaf),
            |_| None,
        );
    }

    /// Releases entirely free slabs of each shard until it has no more than `keep` partial ones.
    pub(crate) fn release_empty(&self, cache: &Cache, keep: u32) {
        for shard in cache.shards {
            let mut leaving = Leaving { cache, slabs: PageList::new() };
            let mut list = shard.lock();
            let mut next = list.first();
            while let Some(page) = next.filter(|_| list.len() > keep) {
                // SAFETY: it is on the locked list.
                next = unsafe { list.after(page) };
                // SAFETY: a listed page starts a slab of this cache.
                let slab = unsafe { Slab::new(page, &cache.geometry) };
                if unlist_if_empty(&mut list, &slab) {
                    // SAFETY: on no list now, and ours.
                    unsafe { leaving.slabs.push(page) };
                }
            }
            drop(list);
            // Destructors run here, where no lock is held.
            while let Some(page) = leaving.next() {
                self.release(cache, page);
            }
        }
    }

    /// Takes every sheaf out of the depots, during a drain.
    pub(crate) fn empty_depots(&self, cache: &Cache, shape: Shape) {
        for depot in cache.depots {
            while let Some(sheaf) = depot.take_any(shape) {
                self.dissolve(cache, sheaf);
            }
        }
    }

    /// Objects that are in use: not free in a slab, queue or depot. Exact when nothing runs.
    #[must_use]
    pub fn live_objects(&self, cache: &Cache) -> usize {
        let info = self.cache_info(cache);
        info.objects.saturating_sub(info.free + info.queued + info.shared)
    }
}

/// Sorts a locked list of partial slabs by free objects, fewest first, in [`GRADES`] steps.
fn sort(list: &mut PageList, cache: &Cache) {
    let mut grades = [const { PageList::new() }; GRADES];
    while let Some(page) = list.first() {
        // SAFETY: a listed page starts a slab of this cache.
        let free = unsafe { Slab::new(page, &cache.geometry) }.state().free().max(0) as usize;
        let grade = (free * GRADES / (cache.geometry.objects as usize + 1)).min(GRADES - 1);
        // SAFETY: it is on `list`, then on none.
        unsafe {
            list.remove(page);
            grades[grade].push(page);
        }
    }
    for grade in grades.iter_mut().rev() {
        while let Some(page) = grade.first() {
            // SAFETY: it is on `grade`, then on none.
            unsafe {
                grade.remove(page);
                list.push(page);
            }
        }
    }
}
