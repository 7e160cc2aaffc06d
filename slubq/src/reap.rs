//! Memory coming back: shrink, expire, decay. Theory 6.5.

use crate::cache::{Cache, Tunable};
use crate::punch;
use crate::shard::{list, unlist_if_empty};
use crate::slab::Slab;
use crate::slubq::Slubq;
use kmem_base::clock::{now_ms, now_us};
use kmem_base::config::MAX_SLOTS;
use kmem_base::knobs::Knob;
use kmem_base::pages::PageList;
use kmem_base::pass::Pass;
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

/// Empty slabs on their way out. If a destructor unwinds, those that it leaves are listed again.
struct Leaving<'a> {
    cache: &'a Cache,
    slabs: PageList,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        while let Some(page) = self.slabs.pop() {
            // SAFETY: it starts a slab of this cache, which is on no list.
            drop(list(self.cache.shards, &unsafe { Slab::new(page, &self.cache.geometry) }));
        }
    }
}

/// A thread that gives up what a cache holds, until dropped: a destructor may unwind out of it.
struct Expiring<'a>(&'a AtomicU32);

impl<'a> Expiring<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Expiring<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `is_quiet`. Not below 0: a destructor may have forked, and the child counts from 0.
        let _was_zero = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, |count| count.checked_sub(1));
    }
}

/// What is left to do of a pass.
#[derive(Clone, Copy)]
enum Stage {
    /// Free pages that have had their interval.
    Purge = 1,
    /// Slabs at rest.
    Punch = 2,
}

/// Steps by which partial slabs are sorted.
const GRADES: usize = 32;
/// After a heap has grown by one part in so many since the last pass over its caches, and at least ...
const GROWTH_SHARE: usize = 16;
/// ... so many pages (4 MiB), the next begins: what lies idle is wanted elsewhere.
const GROWTH_MIN_PAGES: usize = 64;
/// A heap that has shrunk to half, and by at least so many pages (4 MiB), gives free pages back at once, ...
const GONE_MIN_PAGES: usize = 64;
/// ... as long as that takes one part in so many of the time ...
const SHRUNK_SHARE: u64 = 128;
/// ... of so many microseconds before (25 ms), ...
const SHRUNK_CREDIT_US: u64 = 3_200_000;
/// ... and no more than so many microseconds at once.
const SHRUNK_MAX_US: u64 = 20_000;
/// Queues of at most this many caches are drained in one decay pass: each costs two barriers.
const DRAINS_PER_PASS: u32 = 32;
/// What a pass finds goes back in steps. Milliseconds between two of them, at least: ...
const PAUSE_MS: u64 = 8;
/// ... a step takes one part in so many of the time since the last, so that a thread on a slow path works no more than that for decay, ...
const STEP_SHARE: u64 = 4;
/// ... and no more than so many microseconds at once.
const STEP_MAX_US: u64 = 10_000;
/// Pages in use from which on decay begins: 1 MiB.
const SMALL_HEAP: usize = 16;

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
        let _expiring = Expiring::begin(&self.expiring);
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

    /// Goes on with decay if something is due. Called on slow paths, and by those who serve large blocks: no thread is needed.
    #[inline]
    pub fn tick(&self) {
        // A heap that never was larger has nothing to give back, and a short program no need of a clock.
        if self.due.load(Ordering::Relaxed) == 0 && self.pages.used() < SMALL_HEAP {
            return;
        }
        let now = now_ms();
        if now >= self.due.load(Ordering::Relaxed) {
            self.tick_slow(now);
        } else if self.pages.used() >= self.crowded.load(Ordering::Relaxed) {
            self.tick_crowded();
        } else if self.has_shrunk() {
            self.tick_shrunk();
        }
    }

    /// True if the heap is half of what it was, or less, and that is worth a system call.
    #[inline]
    fn has_shrunk(&self) -> bool {
        let gone = self.pages.below_peak();
        gone >= GONE_MIN_PAGES && gone >= self.pages.used()
    }

    /// Gives free pages back before their time. A process that frees what it had and then sleeps, as a server does after a query, comes
    /// by no slow path when the time is up. Paid for out of the time that passes, with some credit: a load that goes up and down all the time
    /// keeps most of what it needs, and one that does so for a moment ends with little.
    #[cold]
    fn tick_shrunk(&self) {
        let start = now_us();
        if start < self.shrunk.load(Ordering::Relaxed) || self.knobs.get(Knob::DecayMs) == 0 {
            return;
        }
        let Some(_pass) = Pass::begin(&self.decaying) else { return };
        let (_, done) = self.pages.purge_while(true, &mut || now_us() - start < SHRUNK_MAX_US);
        // A leaky bucket.
        let paid = self.shrunk.load(Ordering::Relaxed).max(start.saturating_sub(SHRUNK_CREDIT_US));
        self.shrunk.store(paid + (now_us() - start) * SHRUNK_SHARE, Ordering::Relaxed);
        if done {
            self.pages.forget_peak();
        }
    }

    /// A pass over the caches before its time. A load that goes from size to size leaves queues behind whose objects keep slabs alive, and
    /// may do so within an interval. Nothing goes back to the system: it is needed here.
    #[cold]
    fn tick_crowded(&self) {
        let crowded = self.crowded.load(Ordering::Relaxed);
        // Whoever takes the mark does the work.
        let mine = self.crowded.compare_exchange(crowded, usize::MAX, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !mine || crowded == usize::MAX || self.knobs.get(Knob::DecayMs) == 0 {
            return;
        }
        if let Some(_pass) = Pass::begin(&self.decaying) {
            self.decay_caches(&is_plain);
        }
        self.set_crowded();
    }

    /// Begins to watch the heap's growth from what it is now.
    pub(crate) fn set_crowded(&self) {
        let used = self.pages.used();
        self.crowded.store(used + (used / GROWTH_SHARE).max(GROWTH_MIN_PAGES), Ordering::Relaxed);
    }

    #[cold]
    fn tick_slow(&self, now: u64) {
        let (interval, due) = (self.knobs.get(Knob::DecayMs), self.due.load(Ordering::Relaxed));
        let next = if interval == 0 { u64::MAX } else { now + interval };
        // Whoever sets the time does the work; others are early.
        if now < due || self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() || interval == 0 {
            return;
        }
        let pass = self.pass.load(Ordering::Relaxed);
        let begins = due == 0 || now >= pass;
        if begins {
            self.pass.store(next, Ordering::Relaxed);
        }
        // The first time only sets the clock.
        if due != 0 {
            let start = now_us();
            let most = (start.saturating_sub(self.stepped.load(Ordering::Relaxed)) / STEP_SHARE).min(STEP_MAX_US);
            let (_, done) = self.decay_some(begins, &is_plain, &mut || now_us() - start < most);
            self.stepped.store(now_us(), Ordering::Relaxed);
            let again = if done { u64::MAX } else { now_ms() + PAUSE_MS };
            // Unless the knob was turned meanwhile.
            let _turned =
                self.due.compare_exchange(next, again.min(self.pass.load(Ordering::Relaxed)), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A decay pass: what nobody has touched since the last one goes, in the order of [`Level`], then pages that have been free since,
    /// then those inside slabs that have been at rest since. Returns bytes that went back to the system; nothing if another thread is
    /// at it.
    pub fn decay(&self) -> usize {
        self.decay_some(true, &|_| true, &mut || true).0
    }

    /// Begins a pass if told to; then gives back what passes have found, as long as `more` says so. Returns bytes that went back, and
    /// whether that was all.
    fn decay_some(&self, begins: bool, wanted: &dyn Fn(&Cache) -> bool, more: &mut dyn FnMut() -> bool) -> (usize, bool) {
        let Some(_pass) = Pass::begin(&self.decaying) else { return (0, true) };
        if begins {
            self.decay_caches(wanted);
            self.set_crowded();
            self.stage.store(Stage::Purge as u32, Ordering::Relaxed);
        }
        let mut back = 0;
        if self.stage.load(Ordering::Relaxed) == Stage::Purge as u32 {
            let (purged, done) = self.pages.purge_while(false, more);
            if !done {
                return (purged, false);
            }
            back = purged;
            self.pages.age();
            self.stage.store(Stage::Punch as u32, Ordering::Relaxed);
        }
        let (punched, done) = self.punch(wanted, more);
        (back + punched, done)
    }

    fn decay_caches(&self, wanted: &dyn Fn(&Cache) -> bool) {
        let (start, mut drains) = (self.drained.load(Ordering::Relaxed) as usize, DRAINS_PER_PASS);
        // From where the last pass ran out of drains, so that every cache has its turn.
        for index in (start..MAX_SLOTS).chain(0..start) {
            if let Some(cache) = self.cache(index).filter(|cache| wanted(cache)) {
                self.decay_cache(cache, &mut drains);
            }
        }
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
        for shard in cache.shards {
            punch::age(&shard.lock(), &cache.geometry);
        }
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
            while let Some(page) = leaving.slabs.pop() {
                self.release(cache, page);
            }
        }
    }

    /// True if no thread has sheaves or slabs of a cache in hand to give them up.
    pub(crate) fn is_quiet(&self) -> bool {
        self.decaying.load(Ordering::Acquire) == 0 && self.expiring.load(Ordering::Acquire) == 0
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

/// True if the automatic passes may look at the cache: their caller may be a global allocator, in which no destructor may run.
fn is_plain(cache: &Cache) -> bool {
    cache.destructor.is_none()
}

/// Sorts a locked list of partial slabs by free objects, fewest first, in [`GRADES`] steps.
fn sort(list: &mut PageList, cache: &Cache) {
    let mut grades = [const { PageList::new() }; GRADES];
    while let Some(page) = list.pop() {
        // SAFETY: a page of the list starts a slab of this cache, which nobody can release while the list is locked.
        let free = unsafe { Slab::new(page, &cache.geometry) }.state().free().max(0) as usize;
        let grade = (free * GRADES / (cache.geometry.objects as usize + 1)).min(GRADES - 1);
        // SAFETY: it is on no list now.
        unsafe { grades[grade].push(page) };
    }
    for grade in grades.iter_mut().rev() {
        while let Some(page) = grade.pop() {
            // SAFETY: it is on no list now.
            unsafe { list.push(page) };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
