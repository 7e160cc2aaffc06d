//! Freeing: what happens when the CPU's array is full. Theory 3.2.

use crate::cache::{Front, RawCache};
use crate::grow::Leaving;
use crate::node::Lists;
use crate::slab::Slab;
use crate::slabref::SlabRef;
use crate::stats::count;
use core::panic::Location;
use kmem_base::fault::{Fault, die};
use kmem_base::pages::Page;
use kmem_base::percpu::Sheaf;
use kmem_base::sync::Ordering;

/// Objects of a bulk free that are still to go. They go to their slabs if a destructor unwinds.
struct Rest<'a> {
    slab: &'a Slab,
    cache: &'a RawCache,
    objects: &'a [*mut u8],
    user: &'static Location<'static>,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.slab.take_back(self.cache, self.objects, self.user);
    }
}

impl Slab {
    /// Frees an object of `cache`.
    ///
    /// # Safety
    /// `object` was allocated from this cache and is dead; if the cache has a constructor, it is in its constructed state.
    #[doc(alias = "kmem_cache_free")]
    #[inline]
    #[track_caller]
    pub unsafe fn free_object(&self, cache: &RawCache, object: *mut u8) {
        if self.is_numa() || !self.percpu.push(cache.slot(), object) {
            self.free_to(cache, object, Location::caller());
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn free_to(&self, cache: &RawCache, object: *mut u8, user: &'static Location<'static>) {
        self.must_live(cache, object.addr());
        if cache.is_checked() {
            return self.free_checked(cache, object, user);
        }
        if self.is_numa() && self.went_home(cache, object) {
            return;
        }
        if self.percpu.push_locked(cache.slot(), object) {
            return;
        }
        self.tick();
        let (here, lease) = (self.place(), self.percpu.lease(cache.slot()));
        count(&cache.nodes[here.node].counters.free_miss);
        self.wake(cache);
        let mut leaving = Leaving::new(self, cache);
        let kept = match lease.shape().filter(|_| here.row.is_some()) {
            Some(shape) => match cache.front() {
                Front::Arrays => self.free_array(cache, &lease, shape, here, object, &mut leaving),
                Front::Magazines => self.free_magazine(cache, &lease, shape, here, object, &mut leaving),
            },
            None => false,
        };
        if !kept {
            count(&cache.nodes[here.node].counters.direct);
            self.bring_home(cache, &[object], Some(&mut leaving));
        }
        // Last, since a destructor may unwind.
        leaving.destroy();
    }

    /// Where there are several nodes: true if the object's is another one, or it is in this CPU's array now.
    fn went_home(&self, cache: &RawCache, object: *mut u8) -> bool {
        let (here, home) = (self.place(), self.slab_of(cache, object).home.load(Ordering::Relaxed) as usize);
        if home == here.node {
            return self.percpu.push(cache.slot(), object);
        }
        self.wake(cache);
        self.free_alien(cache, here.node, home, object);
        true
    }

    /// First page of the slab that `object` lies in; faults unless it is one of `cache`'s.
    pub(crate) fn slab_of(&self, cache: &RawCache, object: *mut u8) -> &'static Page {
        match self.pages.slab_of(core::ptr::from_ref(cache).cast(), object.addr()) {
            Ok(page) => page,
            Err(fault) => die(fault, object.addr(), cache.name()),
        }
    }

    /// Puts a sheaf's objects back into their slabs, and its block back among the empty ones.
    pub(crate) fn dissolve(&self, cache: &RawCache, sheaf: Sheaf, leaving: Option<&mut Leaving<'_>>) {
        self.bring_home(cache, sheaf.objects(), leaving);
        self.put_back_empty(sheaf);
    }

    pub(crate) fn put_back_empty(&self, mut sheaf: Sheaf) {
        sheaf.clear();
        self.blocks.put(&self.percpu, sheaf);
    }

    /// Puts objects back into their slabs. Slabs that are entirely free then, and too many, are given back: no lock may be held.
    pub(crate) fn flush(&self, cache: &RawCache, objects: &[*mut u8]) {
        let mut leaving = Leaving::new(self, cache);
        // There may be free slabs now, and so something to reap.
        self.wake(cache);
        self.bring_home(cache, objects, Some(&mut leaving));
        leaving.destroy();
    }

    /// The same. Slabs that are too many go to `leaving`; without that they stay, and so no destructor runs: for who holds the drain lock,
    /// or more than it could lose if one unwound.
    pub(crate) fn bring_home(&self, cache: &RawCache, objects: &[*mut u8], mut leaving: Option<&mut Leaving<'_>>) {
        let mut rest = objects;
        while let Some(&first) = rest.first() {
            let home = self.slab_of(cache, first).home.load(Ordering::Relaxed);
            let mut lists = cache.nodes[home as usize].lock();
            while let Some(page) = rest.first().map(|next| self.slab_of(cache, *next)) {
                if page.home.load(Ordering::Relaxed) != home {
                    break;
                }
                rest = put_run(cache, &mut lists, page, rest);
            }
            let limit = lists.free_limit;
            if let Some(leaving) = leaving.as_deref_mut() {
                leaving.take(&mut lists, limit, usize::MAX);
            }
        }
    }

    /// Frees `objects` of `cache`, past the arrays where that saves work.
    ///
    /// # Safety
    /// As [`Self::free_object`], for each.
    #[doc(alias = "kmem_cache_free_bulk")]
    #[track_caller]
    pub unsafe fn free_bulk(&self, cache: &RawCache, objects: &[*mut u8]) {
        let mut rest = Rest { slab: self, cache, objects, user: Location::caller() };
        while let [object, others @ ..] = rest.objects {
            let one_by_one = cache.is_checked() || self.is_numa() || rest.objects.len() < self.limit(cache);
            if !one_by_one && !self.percpu.push(cache.slot(), *object) {
                self.must_live(cache, object.addr());
                self.tick();
                // More than an array: what it would displace would go to the slabs, so these do.
                return self.flush(cache, core::mem::take(&mut rest.objects));
            }
            rest.objects = others;
            if one_by_one {
                // SAFETY: the caller's.
                unsafe { self.free_object(cache, *object) };
            }
        }
    }
}

impl Slab {
    /// Puts objects that were in use back into their slabs, where another unwinding is under way: no destructor runs.
    #[cold]
    pub(crate) fn take_back(&self, cache: &RawCache, objects: &[*mut u8], user: &'static Location<'static>) {
        if objects.is_empty() {
            return;
        }
        self.wake(cache);
        match cache.is_checked() {
            true => objects.iter().for_each(|object| self.return_checked(cache, *object, user, None)),
            false => self.bring_home(cache, objects, None),
        }
    }
}

/// Puts the objects at the start of `objects` that lie in the slab at `page` back into it; returns the others.
fn put_run<'a>(cache: &RawCache, lists: &mut Lists, page: &Page, objects: &'a [*mut u8]) -> &'a [*mut u8] {
    let geometry = cache.geometry();
    // SAFETY: a slab of this cache, which objects that are not free yet keep alive; its node is locked.
    let slab = unsafe { SlabRef::new(page, geometry) };
    let (start, bytes) = (page.address(), geometry.bytes());
    let run = objects.iter().position(|object| object.addr().wrapping_sub(start) >= bytes).unwrap_or(objects.len());
    for object in &objects[..run] {
        match slab.index_of(object.addr()) {
            Some(index) => slab.put(index),
            None => die(Fault::Misaligned, object.addr(), cache.name()),
        }
    }
    lists.returned(&slab, run);
    &objects[run..]
}
