//! Allocating: what happens when the CPU's array is empty. Theory 3.2.

use crate::cache::{Front, RawCache};
use crate::slab::{Here, Slab};
use crate::stats::{add, count};
use core::panic::Location;
use core::ptr::null_mut;
use kmem_base::several::fill;
use kmem_base::sync::Ordering;

/// Objects of a bulk request from which on it goes straight to the slabs.
const BULK: usize = 32;

impl Slab {
    /// Allocates an object of `cache`; null if there is no memory.
    #[doc(alias = "kmem_cache_alloc")]
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn alloc_object(&self, cache: &RawCache) -> *mut u8 {
        let object = self.percpu.pop(cache.slot());
        if object.is_null() { self.alloc_from(cache, Location::caller()) } else { object }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_from(&self, cache: &RawCache, user: &'static Location<'static>) -> *mut u8 {
        self.must_live(cache, cache.slot().index());
        if cache.is_checked() {
            return self.alloc_checked(cache, user);
        }
        let object = self.percpu.pop_locked(cache.slot());
        if !object.is_null() {
            return object;
        }
        self.tick();
        let (here, lease) = (self.place(), self.percpu.lease(cache.slot()));
        count(&cache.nodes[here.node].counters.alloc_miss);
        self.wake(cache);
        // A CPU beyond the table has no array.
        let object = match lease.shape().zip(here.row) {
            Some((shape, row)) => match cache.front() {
                Front::Arrays => self.alloc_array(cache, &lease, shape, here, row),
                Front::Magazines => self.alloc_magazine(cache, &lease, shape, here),
            },
            None => null_mut(),
        };
        let object = if object.is_null() { self.alloc_direct(cache, here) } else { object };
        if !object.is_null() && cache.is_checked() {
            // Checks were switched on meanwhile.
            self.hand_out(cache, object, user);
        }
        object
    }

    /// Allocates one object past the arrays.
    pub(crate) fn alloc_direct(&self, cache: &RawCache, here: Here) -> *mut u8 {
        let (mut out, counters) = ([null_mut()], &cache.nodes[here.node].counters);
        if here.row.is_none() {
            self.more_rows();
        }
        if self.grab(cache, here, &mut out) == 0 {
            count(&counters.failed);
            return null_mut();
        }
        count(&counters.direct);
        out[0]
    }

    /// Takes up to `out.len()` objects from the node's slabs, or a new one; from other nodes' where there is no memory. Fewer than that
    /// many only if there is not one partial or free slab left.
    pub(crate) fn grab(&self, cache: &RawCache, here: Here, out: &mut [*mut u8]) -> usize {
        let colour = {
            let mut lists = cache.nodes[here.node].lock();
            // Under the lock, as it changes only then.
            let geometry = cache.geometry();
            match lists.take(geometry, out) {
                0 => lists.next_colour(geometry),
                taken => return taken,
            }
        };
        match self.grow(cache, here, colour, out) {
            0 => self.grab_elsewhere(cache, here, out),
            taken => taken,
        }
    }

    #[cold]
    pub(crate) fn grab_elsewhere(&self, cache: &RawCache, here: Here, out: &mut [*mut u8]) -> usize {
        let others = cache.nodes.iter().enumerate().filter(|(node, _)| *node != here.node);
        others
            .map(|(_, node)| {
                let mut lists = node.lock();
                lists.take(cache.geometry(), out)
            })
            .find(|taken| *taken > 0)
            .unwrap_or(0)
    }

    /// Allocates up to `out.len()` objects; returns how many. Fewer only if there is no memory for more.
    #[doc(alias = "kmem_cache_alloc_bulk")]
    #[track_caller]
    pub fn alloc_bulk(&self, cache: &RawCache, out: &mut [*mut u8]) -> usize {
        self.must_live(cache, cache.slot().index());
        let user = Location::caller();
        fill(out, |rest| self.alloc_some(cache, rest, user), |got| self.take_back(cache, got, user))
    }

    /// Puts some objects at the front of `rest`: how many.
    fn alloc_some(&self, cache: &RawCache, rest: &mut [*mut u8], user: &'static Location<'static>) -> usize {
        let object = self.percpu.pop(cache.slot());
        rest[0] = object;
        if !object.is_null() {
            return 1;
        }
        if rest.len() < BULK || cache.is_checked() || !self.ready() {
            rest[0] = self.alloc_from(cache, user);
            return usize::from(!rest[0].is_null());
        }
        self.tick();
        self.wake(cache);
        let here = self.place();
        let taken = self.grab(cache, here, rest);
        if cache.is_checked() {
            // Checks were switched on meanwhile.
            rest[..taken].iter().for_each(|object| self.hand_out(cache, *object, user));
        }
        add(&cache.nodes[here.node].counters.direct, taken as u64);
        taken
    }

    /// Objects that one CPU's array holds, at most; what a bulk free may not push past.
    pub(crate) fn limit(&self, cache: &RawCache) -> usize {
        cache.limit.load(Ordering::Relaxed) as usize
    }
}
