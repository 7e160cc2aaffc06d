//! Freeing: what happens when the main sheaf is full. Theory 3.3.

use crate::cache::{Cache, Flags, Tunable};
use crate::shard::{Partial, list, unlist_if_empty, unmark};
use crate::slab::Slab;
use crate::slubq::{Place as Here, Slubq};
use crate::stats::count;
use kmem_base::knobs::Knob;
use kmem_base::pages::Page;
use kmem_base::percpu::{Lease, Place, Shape, Sheaf, Way, Word};
use kmem_base::sync::Ordering;

/// Of so many small objects of other CPUs' slabs that are freed where there is no queue, the last begins one.
const HOMEWARDS: u64 = 32;

/// A slab whose pages go back when this is dropped.
struct Released<'a> {
    slubq: &'a Slubq,
    page: &'a Page,
}

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.page.set_owner(core::ptr::null_mut());
        // SAFETY: the first page of a slab without objects, which `release` has made its own.
        unsafe { self.slubq.pages.free(self.page) };
    }
}

/// Objects of a bulk free that are still to go. They go to their slabs when this is dropped, also if a destructor unwinds.
struct Rest<'a> {
    slubq: &'a Slubq,
    cache: &'a Cache,
    objects: &'a [*mut u8],
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.slubq.flush(self.cache, self.objects);
    }
}

impl Slubq {
    /// Frees an object of `cache`.
    ///
    /// # Safety
    /// `object` was allocated from this cache and is dead; if the cache has a constructor, it is in its constructed state.
    #[inline]
    pub unsafe fn free_object(&self, cache: &Cache, object: *mut u8) {
        if !self.percpu.push(cache.slot(), object) {
            self.free_to(cache, object);
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn free_to(&self, cache: &Cache, object: *mut u8) {
        self.must_live(cache, object.addr());
        if self.percpu.push_locked(cache.slot(), object) {
            return;
        }
        let (here, lease) = (self.place(), self.percpu.lease(cache.slot()));
        count(&cache.counters_of(here).free_slowpath);
        // A CPU beyond the table has no queue.
        let shape = lease.shape().filter(|_| here.row.is_some());
        if shape.is_some_and(|shape| self.free_spare(cache, &lease, shape, object)) {
            return;
        }
        self.tick();
        if here.row.is_none() {
            self.more_rows();
        }
        if self.goes_home(cache, here, object) {
            return self.free_direct(cache, object);
        }
        match shape.and_then(|shape| self.blocks.get(&self.percpu, &self.meta, &self.pages, shape)) {
            Some(mut sheaf) => {
                let _has_room = sheaf.push(object);
                self.install(cache, &lease, sheaf);
            }
            None => self.free_direct(cache, object),
        }
        if cache.destructor.is_some() {
            // What flushes leave to those who hold no lock. This is a call of the cache's own, so its destructor may run.
            self.release_empty(cache, cache.tunables.get(Tunable::MinPartial));
        }
    }

    /// Exchanges main and spare sheaf, or, where that has happened to and fro, evens them out. False if the spare has no room.
    fn free_spare(&self, cache: &Cache, lease: &Lease, shape: Shape, object: *mut u8) -> bool {
        let spare = self.percpu.peek(Place::spare(cache.slot()));
        if spare.is_full(shape) {
            return false;
        }
        match spare.turns().next(Way::Free) {
            None if spare.len(shape) <= shape.cap / 2 => self.free_half(cache, lease, shape, spare, object),
            turns => self.percpu.rotate_push(lease, spare, turns.unwrap_or(spare.turns()), object),
        }
    }

    /// Moves the older half of the full main sheaf to the spare one: SLUB+Q's prune to half.
    fn free_half(&self, cache: &Cache, lease: &Lease, shape: Shape, spare: Word, object: *mut u8) -> bool {
        let Some(mut to) = self.percpu.claim_word(lease, Place::spare(cache.slot()), spare) else { return false };
        let Some(mut from) = self.percpu.claim(lease, Place::main(cache.slot())) else {
            self.retire(cache, lease, to);
            return false;
        };
        from.move_oldest(&mut to, shape.cap.div_ceil(2));
        let kept = from.push(object);
        self.install(cache, lease, from);
        self.retire(cache, lease, to);
        kept
    }

    /// True if `object` is not to be the first in a queue: it shares a cache line with others, and its slab is another CPU's. It would be
    /// handed out here again and again, while its neighbours are in use there. Whoever frees nothing else gets a queue all the same, after
    /// a few. Theory 6.4.
    fn goes_home(&self, cache: &Cache, here: Here, object: *mut u8) -> bool {
        cache.geometry.shares_lines()
            && self.percpu.peek(Place::main(cache.slot())).is_none()
            && self.slab_of(cache, object).page().home.load(Ordering::Relaxed) as usize != here.shard
            && !(cache.counters_of(here).free_direct.load(Ordering::Relaxed) + 1).is_multiple_of(HOMEWARDS)
    }

    fn free_direct(&self, cache: &Cache, object: *mut u8) {
        count(&cache.counters_of(self.place()).free_direct);
        self.flush(cache, &[object]);
    }

    /// Finds a place for a sheaf outside the queue: full ones in the stash or the depot, objects of others in their slabs.
    pub(crate) fn put_away(&self, cache: &Cache, lease: &Lease, mut sheaf: Sheaf) {
        if sheaf.is_full() {
            sheaf = match self.percpu.stash(lease, sheaf, self.stash_bytes(cache)) {
                Ok(()) => return,
                Err(sheaf) => sheaf,
            };
            let most = cache.depot_sheaves(sheaf.shape());
            let here = self.place();
            let (depot, counters) = (&cache.depots[here.node], cache.counters_of(here));
            sheaf = match depot.put(&self.percpu, cache.slot(), lease, sheaf, most) {
                Ok(()) => return count(&counters.free_shared),
                Err(sheaf) => sheaf,
            };
            count(&counters.free_slab);
        }
        self.dissolve(cache, sheaf);
    }

    /// Bytes of objects that a CPU's stashes may hold.
    fn stash_bytes(&self, cache: &Cache) -> u64 {
        if cache.flags.has(Flags::LOWMEM) { 0 } else { self.knobs.get(Knob::StashKb) << 10 }
    }

    /// Puts a sheaf's objects back into their slabs, and its block back among the empty ones.
    pub(crate) fn dissolve(&self, cache: &Cache, mut sheaf: Sheaf) {
        self.flush(cache, sheaf.objects());
        sheaf.clear();
        self.blocks.put(&self.percpu, sheaf);
    }

    /// Lists a slab that is on no list and has free objects, which this thread must do; releases it if it is surplus.
    pub(crate) fn list(&self, cache: &Cache, slab: &Slab<'_>) {
        self.release_if_surplus(cache, list(cache.shards, slab), slab);
    }

    /// Releases a slab that this thread has marked, if it is still entirely free and there are partial slabs enough.
    #[cold]
    pub(crate) fn reconsider(&self, cache: &Cache, slab: &Slab<'_>) {
        self.release_if_surplus(cache, unmark(cache.shards, slab), slab);
    }

    /// Releases a slab of a locked list if it is entirely free and there are partial slabs enough without it.
    fn release_if_surplus(&self, cache: &Cache, mut list: Partial<'_>, slab: &Slab<'_>) {
        // Objects of a cache with a destructor are destroyed only where no lock is held.
        let surplus = list.len() > cache.tunables.get(Tunable::MinPartial) && cache.destructor.is_none();
        if surplus && unlist_if_empty(&mut list, slab) {
            drop(list);
            self.release(cache, slab.page());
        }
    }

    /// Destroys the objects of a slab that is the caller's, and gives its pages back.
    pub(crate) fn release(&self, cache: &Cache, page: &Page) {
        // SAFETY: the slab is on no list and entirely free: ours.
        let slab = unsafe { Slab::new(page, &cache.geometry) };
        let home = page.home.load(Ordering::Relaxed) as usize;
        cache.shards[home].slabs.fetch_sub(1, Ordering::Relaxed);
        count(&cache.counters_of(self.place()).free_slab_pages);
        // The pages go back even if a destructor unwinds.
        let _pages = Released { slubq: self, page };
        self.destruct(cache, &slab);
    }

    /// Frees `objects` of `cache`, past the queues where that saves work.
    ///
    /// # Safety
    /// As [`Self::free_object`], for each.
    #[doc(alias = "kmem_cache_free_bulk")]
    pub unsafe fn free_bulk(&self, cache: &Cache, objects: &[*mut u8]) {
        let mut rest = Rest { slubq: self, cache, objects };
        while let [object, others @ ..] = rest.objects {
            if self.percpu.push(cache.slot(), *object) {
                rest.objects = others;
            } else if rest.objects.len() < self.percpu.lease(cache.slot()).shape().map_or(usize::MAX, |shape| shape.cap as usize) {
                rest.objects = others;
                self.free_to(cache, *object);
            } else {
                // More than a sheaf: what it would displace would go to the slabs, so these do.
                return self.must_live(cache, object.addr());
            }
        }
    }
}
