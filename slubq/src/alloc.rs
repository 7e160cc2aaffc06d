//! Allocating: what happens when the main sheaf is empty. Theory 3.2.

use crate::cache::{Cache, Tunable};
use crate::shard::{take_from, take_over};
use crate::slab::{Slab, State};
use crate::slubq::{Place as Here, Slubq};
use crate::stats::{add, count};
use core::ptr::null_mut;
use kmem_base::fault::{Fault, die};
use kmem_base::pages::Kind;
use kmem_base::percpu::{Lease, Place, Shape, Sheaf, Way, Word};
use kmem_base::several::fill;
use kmem_base::sync::Ordering;

/// Whether an allocation may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// It may wait for locks, and ask the system for memory.
    Blocking,
    /// It takes objects from queues, depots and partial slabs whose locks are free, and makes no system call. It still refills a whole
    /// sheaf: in the kernel, forbidding that cost two thirds of the throughput of a program that allocates on one CPU and frees on
    /// another. (Three rare cases can wait for tens of nanoseconds: another thread fills the same CPU's queue meanwhile, so that the
    /// sheaf must be put away; the CPU has empty sheaves enough, so that one more goes to the shared list; and on the locked fallback a
    /// row may be held by a thread that is not running.)
    NonBlocking,
}

/// SLAB's limit for the first refill of a queue that nobody seems to use.
const UNTOUCHED_BATCH: u32 = 16;
/// Objects from which on a bulk request goes straight to the slabs.
const BULK: usize = 64;

/// An empty sheaf that goes back among the empty ones if a constructor unwinds, or there is nothing to put into it.
struct Held<'a> {
    slubq: &'a Slubq,
    sheaf: Option<Sheaf>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(sheaf) = self.sheaf.take() {
            self.slubq.blocks.put(&self.slubq.percpu, sheaf);
        }
    }
}

impl Slubq {
    /// Allocates an object of `cache`; null if there is no memory.
    #[inline]
    #[must_use]
    pub fn alloc_object(&self, cache: &Cache) -> *mut u8 {
        let object = self.percpu.pop(cache.slot());
        if object.is_null() { self.alloc_from(cache, Context::Blocking) } else { object }
    }

    /// The same without waiting: for contexts that hold locks of their own, or must not make system calls.
    #[doc(alias = "kmalloc_nolock")]
    #[must_use]
    pub fn alloc_nowait(&self, cache: &Cache) -> *mut u8 {
        let object = self.percpu.pop(cache.slot());
        if object.is_null() { self.alloc_from(cache, Context::NonBlocking) } else { object }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_from(&self, cache: &Cache, context: Context) -> *mut u8 {
        self.must_live(cache, cache.slot().index());
        let object = self.percpu.pop_locked(cache.slot());
        if !object.is_null() {
            return object;
        }
        let (here, lease) = (self.place(), self.percpu.lease(cache.slot()));
        count(&cache.counters_of(here).alloc_slowpath);
        // A CPU beyond the table has no queue.
        let shape = lease.shape().filter(|_| here.row.is_some());
        if let Some(shape) = shape {
            let object = self.alloc_spare(cache, &lease, shape, here);
            if !object.is_null() {
                return object;
            }
        }
        if context == Context::Blocking {
            self.tick();
            if here.row.is_none() {
                self.more_rows();
            }
        }
        match shape.and_then(|shape| self.find_sheaf(cache, &lease, shape, here, context)) {
            Some(mut sheaf) => {
                let object = sheaf.pop().unwrap_or(null_mut());
                self.install(cache, &lease, sheaf);
                object
            }
            None => self.alloc_direct(cache, context),
        }
    }

    /// Exchanges main and spare sheaf, or, where that has happened to and fro, evens them out. Null if the spare has nothing.
    fn alloc_spare(&self, cache: &Cache, lease: &Lease, shape: Shape, here: Here) -> *mut u8 {
        let spare = self.percpu.peek(Place::spare(cache.slot()));
        if spare.is_empty(shape) {
            return null_mut();
        }
        count(&cache.counters_of(here).alloc_spare);
        match spare.turns().next(Way::Alloc) {
            Some(turns) => self.percpu.rotate_pop(lease, spare, turns),
            None => self.alloc_half(cache, lease, spare),
        }
    }

    /// Makes the newer half of a full spare sheaf the main one, so that as many frees as allocations can follow without another slow
    /// path: SLUB+Q's prune to half.
    fn alloc_half(&self, cache: &Cache, lease: &Lease, spare: Word) -> *mut u8 {
        let Some(mut from) = self.percpu.claim_word(lease, Place::spare(cache.slot()), spare) else { return null_mut() };
        let to = if from.is_full() { self.percpu.claim(lease, Place::main(cache.slot())) } else { None };
        let object = from.pop().unwrap_or(null_mut());
        match to {
            Some(mut to) => {
                to.fill_half(&mut from);
                self.install(cache, lease, to);
                self.retire(cache, lease, from);
            }
            None => self.install(cache, lease, from),
        }
        object
    }

    /// A sheaf with at least one object, from the nearest place that has one.
    fn find_sheaf(&self, cache: &Cache, lease: &Lease, shape: Shape, here: Here, context: Context) -> Option<Sheaf> {
        let counters = cache.counters_of(here);
        if let Some(full) = self.percpu.unstash(lease) {
            count(&counters.alloc_stash);
            return Some(full);
        }
        if let Some(full) = cache.depots[here.node].take(&self.percpu, cache.slot(), lease) {
            count(&counters.alloc_shared);
            return Some(full);
        }
        let blank = match self.percpu.claim(lease, Place::spare(cache.slot())) {
            Some(sheaf) if !sheaf.is_empty() => return Some(sheaf),
            Some(blank) => blank,
            None if context == Context::Blocking => self.blocks.get(&self.percpu, &self.meta, &self.pages, shape)?,
            None => self.blocks.get_nowait(&self.percpu, shape)?,
        };
        let full = self.refill_sheaf(cache, blank, here, context)?;
        count(&counters.alloc_slab);
        Some(full)
    }

    /// `sheaf`, which is empty, with a batch from the slabs; or nothing, and its block is put back.
    fn refill_sheaf(&self, cache: &Cache, sheaf: Sheaf, here: Here, context: Context) -> Option<Sheaf> {
        let mut held = Held { slubq: self, sheaf: Some(sheaf) };
        if self.refill(cache, held.sheaf.as_mut()?, here, context) == 0 {
            return None;
        }
        held.sheaf.take()
    }

    /// Makes `sheaf` the main sheaf of this CPU and retires the one it replaces.
    pub(crate) fn install(&self, cache: &Cache, lease: &Lease, sheaf: Sheaf) {
        match self.percpu.install(lease, Place::main(cache.slot()), sheaf) {
            Ok(Some(old)) => self.retire(cache, lease, old),
            Ok(None) => {}
            // A drain has begun, or this CPU has no row.
            Err(sheaf) => self.put_away(cache, lease, sheaf),
        }
    }

    /// Finds a place for a sheaf that was the main one: the spare's if it is vacant, or holds an emptier sheaf.
    pub(crate) fn retire(&self, cache: &Cache, lease: &Lease, sheaf: Sheaf) {
        let (spare, shape) = (Place::spare(cache.slot()), sheaf.shape());
        let old = self.percpu.peek(spare);
        if !old.is_none() && sheaf.is_empty() {
            return self.blocks.put(&self.percpu, sheaf);
        }
        if !old.is_empty(shape) {
            return self.put_away(cache, lease, sheaf);
        }
        let word = sheaf.into_word(self.percpu.base());
        let kept = self.percpu.swap_if(lease, spare, old, word);
        // SAFETY: of `old` and `word`, the one that is not in the row is ours.
        if let Some(left) = unsafe { Sheaf::from_word(if kept { old } else { word }, self.percpu.base(), shape) } {
            self.put_away(cache, lease, left);
        }
    }

    /// Fills `sheaf` with a batch from the slabs. Returns how many objects it got: at least one, unless there is no memory.
    fn refill(&self, cache: &Cache, sheaf: &mut Sheaf, here: Here, context: Context) -> u32 {
        let mut batch = cache.tunables.get(Tunable::BatchSize);
        if cache.shards[here.shard].touched.swap(1, Ordering::Relaxed) == 0 {
            batch = batch.min(UNTOUCHED_BATCH);
        }
        sheaf.fill(batch, |out| self.grab(cache, here, out, context))
    }

    /// Takes up to `out.len()` objects out of the slabs: of the own shard, of another, or of a new slab.
    pub(crate) fn grab(&self, cache: &Cache, here: Here, out: &mut [*mut u8], context: Context) -> usize {
        if context == Context::NonBlocking {
            return self.grab_nowait(cache, here, out);
        }
        let taken = take_from(&mut cache.shards[here.shard].lock(), &cache.geometry, out);
        // Half a batch is a batch; with less, the next slow path would come too soon. A constructor may unwind, so that nothing must be
        // in hand when one is called.
        if taken * 2 >= out.len() || (taken > 0 && cache.constructor.is_some()) {
            return taken;
        }
        let (well_filled, out) = (cache.geometry.objects / 4, &mut out[taken..]);
        let mut more = self.steal(cache, here, well_filled, out);
        if more == 0 {
            more = self.carve(cache, here, out);
        }
        if taken + more == 0 {
            more = self.steal(cache, here, 1, out);
        }
        taken + more
    }

    /// The same without waiting: from the first shard whose lock is free, leaving the slabs where they are.
    fn grab_nowait(&self, cache: &Cache, here: Here, out: &mut [*mut u8]) -> usize {
        let shards = cache.shards.len();
        (0..shards)
            .map(|distance| (here.shard + distance) % shards)
            .filter_map(|shard| cache.shards[shard].try_lock())
            .map(|mut partial| take_from(&mut partial, &cache.geometry, out))
            .find(|taken| *taken > 0)
            .unwrap_or(0)
    }

    /// Takes over a partial slab with at least `least` free objects from another shard. Only tries their locks: a busy neighbour is
    /// using what it has.
    fn steal(&self, cache: &Cache, here: Here, least: u32, out: &mut [*mut u8]) -> usize {
        let shards = cache.shards.len();
        for victim in (1..shards).map(|distance| (here.shard + distance) % shards) {
            let Some(mut partial) = cache.shards[victim].try_lock() else {
                continue;
            };
            // The last one is in use there; two CPUs in one cache line are worse than another slab.
            if cache.geometry.shares_lines() && partial.len() == 1 && least > 1 {
                continue;
            }
            let Some(slab) = take_over(&mut partial, &cache.geometry, here.shard, least) else {
                continue;
            };
            drop(partial);
            cache.shards[victim].slabs.fetch_sub(1, Ordering::Relaxed);
            cache.shards[here.shard].slabs.fetch_add(1, Ordering::Relaxed);
            count(&cache.counters_of(here).steal);
            // It is on no list, so that nobody else can take from it.
            let (taken, left) = slab.take(out);
            self.list_rest(cache, &slab, left);
            return taken;
        }
        0
    }

    /// Makes a slab and takes objects from it before anybody else can.
    fn carve(&self, cache: &Cache, here: Here, out: &mut [*mut u8]) -> usize {
        let Some(run) = self.pages.alloc(cache.geometry.pages, 1, Kind::Slab) else {
            return 0;
        };
        run.page.set_owner(core::ptr::from_ref(cache).cast_mut().cast());
        run.page.home.store(here.shard as u8, Ordering::Relaxed);
        // SAFETY: the run was just made for this.
        let slab = unsafe { Slab::new(run.page, &cache.geometry) };
        self.construct(cache, &slab);
        slab.fill();
        if let Some(class) = cache.class() {
            self.pages.set_class(run.page, class);
        }
        cache.shards[here.shard].slabs.fetch_add(1, Ordering::Relaxed);
        count(&cache.counters_of(here).new_slab);
        let (taken, left) = slab.take(out);
        self.list_rest(cache, &slab, left);
        taken
    }

    /// Lists what is left of a slab that was the caller's alone.
    fn list_rest(&self, cache: &Cache, slab: &Slab<'_>, left: State) {
        // With nothing left, the first object to come back lists it.
        if left.free() > 0 {
            self.list(cache, slab);
        }
    }

    /// Allocates one object past the queues.
    pub(crate) fn alloc_direct(&self, cache: &Cache, context: Context) -> *mut u8 {
        let (mut out, here) = ([null_mut()], self.place());
        if !self.ready() || self.grab(cache, here, &mut out, context) == 0 {
            count(&cache.counters_of(here).failed);
            return null_mut();
        }
        count(&cache.counters_of(here).alloc_direct);
        out[0]
    }

    /// Allocates up to `out.len()` objects; returns how many. Fewer only if there is no memory for more.
    #[doc(alias = "kmem_cache_alloc_bulk")]
    pub fn alloc_bulk(&self, cache: &Cache, out: &mut [*mut u8]) -> usize {
        self.must_live(cache, cache.slot().index());
        fill(out, |rest| self.alloc_some(cache, rest), |got| self.flush(cache, got))
    }

    /// Puts some objects at the front of `rest`: how many.
    fn alloc_some(&self, cache: &Cache, rest: &mut [*mut u8]) -> usize {
        if rest.len() < BULK {
            rest[0] = self.alloc_object(cache);
            return usize::from(!rest[0].is_null());
        }
        if !self.ready() {
            return 0;
        }
        let here = self.place();
        let taken = self.grab(cache, here, rest, Context::Blocking);
        add(&cache.counters_of(here).alloc_direct, taken as u64);
        taken
    }

    /// Faults if the cache was destroyed.
    pub(crate) fn must_live(&self, cache: &Cache, address: usize) {
        if cache.is_dead() {
            die(Fault::Destroyed, address, cache.name());
        }
    }
}
