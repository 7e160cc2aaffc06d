//! Memory coming back: shrink, expire, decay. Theory 6.5.

use crate::cache::{Cache, Tunable};
use crate::slab::Slab;
use crate::slubq::Slubq;
use kmem_base::clock::now_ms;
use kmem_base::knobs::Knob;
use kmem_base::pages::{Page, PageList};
use kmem_base::percpu::{Idle, Shape};
use kmem_base::sync::Ordering;

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
            self.percpu.drain(cache.slot(), Idle::Any, |sheaf| self.dissolve(cache, sheaf));
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
        let interval = self.knobs.get(Knob::DecayMs);
        let first = self.due.swap(if interval == 0 { u64::MAX } else { now + interval }, Ordering::Relaxed) == 0;
        if interval == 0 || first {
            return;
        }
        self.decay();
    }

    /// A decay pass: what nobody has touched since the last one goes, in the order of [`Level`], then pages that have been free since.
    /// Returns bytes that went back to the system; nothing if another thread is at it.
    pub fn decay(&self) -> usize {
        let Some(_one_at_a_time) = self.decay.try_lock() else {
            return 0;
        };
        let mut drains = DRAINS_PER_PASS;
        for cache in self.caches() {
            self.decay_cache(cache, &mut drains);
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
            self.percpu.drain(cache.slot(), Idle::Untouched, |sheaf| self.dissolve(cache, sheaf));
        }
        self.percpu.mark(cache.slot());
        let keep = if cache.shards.iter().any(|shard| shard.touched.swap(0, Ordering::Relaxed) != 0) {
            cache.tunables.get(Tunable::MinPartial)
        } else {
            0
        };
        self.release_empty(cache, keep);
    }

    /// Releases entirely free slabs of each shard until it has no more than `keep` partial ones.
    pub(crate) fn release_empty(&self, cache: &Cache, keep: u32) {
        for shard in cache.shards {
            // One at a time: destructors run without the lock. Each round starts at the front, where the list may have changed.
            loop {
                let mut list = shard.lock();
                if list.len() <= keep {
                    break;
                }
                let Some(page) = list.pages().find(|page| self.is_empty(cache, page)) else {
                    break;
                };
                if !self.unlist_if_empty(cache, &mut list, page) {
                    break;
                }
                drop(list);
                self.release(cache, page);
            }
        }
    }

    fn is_empty(&self, cache: &Cache, page: &Page) -> bool {
        // SAFETY: a listed page starts a slab of this cache, and its list is locked.
        unsafe { Slab::new(page, &cache.geometry) }.is_empty()
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
        info.objects - info.free - info.queued - info.shared
    }
}

/// Sorts a locked list of partial slabs by free objects, fewest first, in [`GRADES`] steps.
fn sort(list: &mut PageList, cache: &Cache) {
    let mut grades = [const { PageList::new() }; GRADES];
    while let Some(page) = list.first() {
        // SAFETY: a listed page starts a slab of this cache.
        let free = unsafe { Slab::new(page, &cache.geometry) }.state().free() as usize;
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
