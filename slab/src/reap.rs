//! Memory coming back while the program runs: SLAB's reaper. Theory 6.3.

use crate::cache::{Flags, Front, RawCache, Tuning};
use crate::config::{CALM_WINDOWS, CONTENTION, MAGAZINES, REAP_MS, REAP_SHARE, SMALL_HEAP, UPDATE_PASSES};
use crate::registry::first_magazine;
use crate::slab::Slab;
use core::ops::AddAssign;
use kmem_base::clock::now_ms;
use kmem_base::knobs::Knob;
use kmem_base::pass::Pass;
use kmem_base::percpu::{Idle, Sheaf};
use kmem_base::sync::Ordering;

/// What a pass has given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reaped {
    /// Objects that went from arrays and magazines back to their slabs.
    pub objects: usize,
    /// Slabs given back.
    pub slabs: usize,
    /// Bytes that went back to the system.
    pub bytes: usize,
    /// Caches looked at.
    pub caches: usize,
}

impl AddAssign for Reaped {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.slabs += other.slabs;
        self.bytes += other.bytes;
        self.caches += other.caches;
    }
}

impl Slab {
    /// Runs a pass of the reaper if one is due. Called on slow paths: no thread is needed.
    #[inline]
    pub fn tick(&self) {
        // A heap that never was larger has nothing to give back, and a short program no need of a clock.
        if self.due.load(Ordering::Relaxed) == 0 && self.pages.used() < SMALL_HEAP {
            return;
        }
        let now = now_ms();
        if now >= self.due.load(Ordering::Relaxed) {
            self.tick_slow(now);
        }
    }

    #[cold]
    fn tick_slow(&self, now: u64) {
        let due = self.due.load(Ordering::Relaxed);
        // `decay_ms` turns decay off here, too; the intervals are SLAB's.
        let next = if self.knobs.get(Knob::DecayMs) == 0 { u64::MAX } else { now + REAP_MS };
        // Whoever sets the time does the work; others are early. The first time only sets the clock.
        let mine = now >= due && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine && due != 0 && next != u64::MAX {
            // The caller may be a global allocator, in which no destructor may run.
            self.reap(&|cache| cache.destructor.is_none());
        }
    }

    /// Runs a pass of the reaper now, as if its interval had passed. An array that was refilled since the last pass is spared once; others
    /// give up a fifth of their limit, or half of what they hold. Every second pass also looks at the nodes: shared arrays in the same way,
    /// one node's alien arrays, magazines that nobody needed for a whole interval, and a fifth of the free slabs that may be kept. Costs as
    /// much as there are caches that hold something.
    #[doc(alias = "cache_reap")]
    #[doc(alias = "kmem_cache_reap_now")]
    pub fn reap_tick(&self) -> Reaped {
        self.reap(&|_| true)
    }

    fn reap(&self, wanted: &dyn Fn(&RawCache) -> bool) -> Reaped {
        let mut reaped = Reaped::default();
        let Some(_pass) = Pass::begin(&self.reaping) else { return reaped };
        let pass = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
        // What says that it can be given up goes first.
        for first in [true, false] {
            for cache in self.awake().filter(|cache| cache.flags.has(Flags::RECLAIM_ACCOUNT) == first && wanted(cache)) {
                if let Some(_visit) = cache.visit() {
                    reaped += self.reap_cache(cache, pass);
                }
            }
        }
        self.grace.settle(&self.pages);
        // What has been free since the last pass.
        reaped.bytes = self.pages.decay();
        reaped
    }

    /// Caches that may hold something that can be given up.
    fn awake(&self) -> impl Iterator<Item = &'static RawCache> + '_ {
        let words = self.awake.iter().enumerate();
        words.flat_map(move |(at, word)| {
            let bits = word.load(Ordering::Relaxed);
            (0..64).filter(move |bit| bits >> bit & 1 != 0).filter_map(move |bit| self.cache(at * 64 + bit))
        })
    }

    fn reap_cache(&self, cache: &RawCache, pass: u32) -> Reaped {
        // Cleared first, so that whoever uses the cache from here on wakes it again.
        let (word, bit) = (&self.awake[cache.slot().index() / 64], 1 << (cache.slot().index() % 64));
        word.fetch_and(!bit, Ordering::Relaxed);
        let mut reaped = Reaped { caches: 1, ..self.reap_arrays(cache) };
        if pass.is_multiple_of(2) {
            reaped += self.reap_nodes(cache);
        }
        if cache.front() == Front::Magazines && pass.is_multiple_of(UPDATE_PASSES) {
            self.resize_magazines(cache);
        }
        if self.holds_something(cache) {
            self.wake(cache);
        }
        reaped
    }

    /// Takes from the CPUs' arrays that nobody has used since the last pass.
    #[doc(alias = "drain_array")]
    pub(crate) fn reap_arrays(&self, cache: &RawCache) -> Reaped {
        let mut touched = [false; 64];
        for (seen, flag) in touched.iter_mut().zip(&cache.touched) {
            *seen = flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::Relaxed) != 0;
        }
        let (limit, mut objects, mut slabs) = (cache.tuning().limit, 0, 0);
        let idle = |row: u32| !touched[row as usize % touched.len()];
        let (slot, still) = (cache.slot(), || self.is_in_place(cache));
        if self.percpu.has_idle(slot) {
            match cache.front() {
                Front::Arrays => self.percpu.prune(slot, idle, still, |mut array| {
                    objects += self.prune(cache, &mut array, limit);
                    // An empty one goes, so that whoever fills another says so on a slow path.
                    if array.is_empty() {
                        self.dissolve(cache, array, None);
                        return None;
                    }
                    Some(array)
                }),
                // Magazines move whole, so they go whole.
                Front::Magazines => self.percpu.drain_and(
                    slot,
                    Idle::Untouched,
                    still,
                    |magazine| {
                        objects += magazine.len() as usize;
                        self.dissolve(cache, magazine, None);
                    },
                    |_| None,
                ),
            };
            slabs = self.release_surplus(cache);
        }
        self.percpu.mark(cache.slot());
        Reaped { objects, slabs, ..Reaped::default() }
    }

    /// Sends the oldest objects of an idle array home: a fifth of its limit, or half of what there is.
    fn prune(&self, cache: &RawCache, sheaf: &mut Sheaf, limit: u32) -> usize {
        let share = limit.div_ceil(REAP_SHARE);
        let count = if share > sheaf.len() { sheaf.len().div_ceil(2) } else { share };
        self.bring_home(cache, &sheaf.objects()[..count as usize], None);
        sheaf.forget_oldest(count);
        count as usize
    }

    fn reap_nodes(&self, cache: &RawCache) -> Reaped {
        let mut reaped = Reaped { objects: self.reap_aliens(cache), ..Reaped::default() };
        for at in 0..cache.nodes.len() {
            reaped.objects += self.reap_shared(cache, at);
            while let Some(magazine) = cache.depots.get(at).and_then(|depot| depot.take_idle(&self.percpu, cache.slot())) {
                reaped.objects += magazine.len() as usize;
                self.dissolve(cache, magazine, None);
            }
        }
        if reaped.objects > 0 {
            reaped.slabs += self.release_surplus(cache);
        }
        for node in cache.nodes {
            let (touched, limit) = {
                let mut lists = node.lock();
                (core::mem::take(&mut lists.free_touched), lists.free_limit)
            };
            if !touched {
                let objects = cache.geometry().objects as usize;
                reaped.slabs += self.release_free_of(cache, node, 0, limit.div_ceil(REAP_SHARE as usize * objects));
            }
        }
        reaped
    }

    /// One node's alien arrays, another one each time.
    fn reap_aliens(&self, cache: &RawCache) -> usize {
        let nodes = cache.nodes.len();
        if nodes == 1 {
            return 0;
        }
        let home = cache.next_alien.fetch_add(1, Ordering::Relaxed) as usize % nodes;
        (0..nodes).map(|here| self.drain_alien(cache, here, home)).sum()
    }

    /// A fifth of a node's shared array, or half of it if it holds less, unless it was used since the last look.
    pub(crate) fn reap_shared(&self, cache: &RawCache, node: usize) -> usize {
        let most = cache.tuning().shared_objects();
        let taken = {
            let mut lists = cache.nodes[node].lock();
            if core::mem::take(&mut lists.shared_touched) { None } else { lists.shared.take() }
        };
        let Some(mut shared) = taken else { return 0 };
        let objects = self.prune(cache, &mut shared, most);
        let left = {
            let mut lists = cache.nodes[node].lock();
            // Nobody keeps an empty one, or one of another size.
            if shared.is_empty() || lists.shared.is_some() || cache.tuning().shared_objects() != shared.shape().cap {
                Some(shared)
            } else {
                lists.shared = Some(shared);
                None
            }
        };
        if let Some(shared) = left {
            self.dissolve(cache, shared, None);
        }
        objects
    }

    /// Bonwick's rule: a depot whose lock was found busy more than a few times in a window gets larger magazines. And ours: after calm
    /// windows they shrink again.
    fn resize_magazines(&self, cache: &RawCache) {
        let contended: u32 = cache.depots.iter().map(|depot| depot.contended.swap(0, Ordering::Relaxed)).sum();
        let (tuning, size) = (cache.tuning(), cache.geometry().size as usize);
        cache.window.store(contended, Ordering::Relaxed);
        let calm = if contended == 0 { cache.calm.load(Ordering::Relaxed) + 1 } else { 0 };
        cache.calm.store(calm, Ordering::Relaxed);
        let at = MAGAZINES.iter().position(|(magazine, ..)| *magazine == tuning.limit);
        // One that was tuned by hand stays.
        let Some(at) = at else { return };
        let next = match contended {
            contended if contended > CONTENTION && size < MAGAZINES[at].2 => at + 1,
            0 if calm >= CALM_WINDOWS && tuning.limit > first_magazine(size) => at - 1,
            _ => return,
        };
        let magazine = MAGAZINES[next].0;
        let shared = tuning.shared_objects().div_ceil(magazine);
        cache.calm.store(0, Ordering::Relaxed);
        self.reshape(cache, Tuning { limit: magazine, batch: magazine, shared });
    }

    /// True if the reaper has something to do in the cache.
    fn holds_something(&self, cache: &RawCache) -> bool {
        let magazines = || cache.depots.iter().any(|depot| depot.len() != (0, 0));
        let aliens = || cache.nodes.iter().flat_map(|node| node.aliens).any(|alien| alien.len() > 0);
        let lists = || {
            cache.nodes.iter().any(|node| {
                let lists = node.lock();
                lists.shared.is_some() || !lists.free.is_empty()
            })
        };
        let grown = || cache.front() == Front::Magazines && cache.tuning().limit > first_magazine(cache.geometry().size as usize);
        self.percpu.holds_any(cache.slot()) || grown() || lists() || magazines() || aliens()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::cache::Spec;
    use kmem_base::percpu::Barriers;

    #[test]
    fn frees_alone_drive_the_reaper() {
        static SLAB: Slab = Slab::system();
        let _alone = Barriers::new();
        let cache = SLAB.create(&Spec::new("freed", 64, 8)).unwrap();
        let mut objects: [_; 1000] = core::array::from_fn(|_| SLAB.alloc_object(cache));
        let passes = || SLAB.passes.load(Ordering::Relaxed);
        for bulk in [false, true] {
            SLAB.due.store(1, Ordering::Relaxed);
            let before = passes();
            // SAFETY: allocated above, or below; each is freed once.
            unsafe {
                match bulk {
                    false => objects.iter().for_each(|object| SLAB.free_object(cache, *object)),
                    true => SLAB.free_bulk(cache, &objects),
                }
            }
            assert_eq!(passes(), before + 1, "bulk: {bulk}");
            assert_eq!(SLAB.alloc_bulk(cache, &mut objects), objects.len());
        }
        // SAFETY: allocated above.
        unsafe { SLAB.free_bulk(cache, &objects) };
        SLAB.check().unwrap();
    }

    #[test]
    fn contended_magazines_grow_and_shrink_again_when_it_is_calm() {
        static SLAB: Slab = Slab::system();
        let _alone = Barriers::new();
        let cache = SLAB.create(&Spec::new("busy", 64, 8).behind(Front::Magazines)).unwrap();
        let window = || {
            for _ in 0..UPDATE_PASSES {
                // As whoever finds a lock busy has done.
                SLAB.wake(cache);
                SLAB.reap_tick();
            }
        };
        let object = SLAB.alloc_object(cache);
        assert_eq!(SLAB.row(cache).limit, 15, "for objects of at most 64 bytes");
        for larger in [31, 47, 63, 95, 143, 143] {
            cache.depots[0].contended.store(CONTENTION + 1, Ordering::Relaxed);
            window();
            assert_eq!(SLAB.row(cache).limit, larger);
        }
        cache.depots[0].contended.store(CONTENTION, Ordering::Relaxed);
        window();
        assert_eq!(SLAB.row(cache).limit, 143, "a little is no reason");
        // SAFETY: allocated above.
        unsafe { SLAB.free_object(cache, object) };
        for smaller in [95, 63, 47, 31, 15, 15] {
            (0..CALM_WINDOWS).for_each(|_| window());
            assert_eq!(SLAB.row(cache).limit, smaller);
        }
        SLAB.check().unwrap();
    }
}
