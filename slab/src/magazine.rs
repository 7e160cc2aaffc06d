//! Bonwick's front end: a loaded and a previous magazine per CPU, and a depot. Theory 3.3.
//!
//! The loaded magazine is the CPU's main sheaf, the previous one its spare. Both are full or empty but for the loaded one, so that at
//! least a magazine's worth of operations lies between two visits to the depot.

use crate::array::Held;
use crate::cache::RawCache;
use crate::slab::{Here, Slab};
use crate::stats::count;
use core::ptr::null_mut;
use kmem_base::percpu::{Lease, Place, Shape, Sheaf};

impl Slab {
    /// An object out of the previous magazine, one of the depot's, or one filled from the slabs; null if there is none.
    pub(crate) fn alloc_magazine(&self, cache: &RawCache, lease: &Lease, shape: Shape, here: Here) -> *mut u8 {
        let previous = self.percpu.peek(Place::spare(cache.slot()));
        if !previous.is_empty(shape) {
            let object = self.percpu.rotate_pop(lease, previous, previous.turns());
            if !object.is_null() {
                return object;
            }
        }
        let Some(mut full) = self.full_magazine(cache, lease, shape, here) else { return null_mut() };
        let object = full.pop().unwrap_or(null_mut());
        self.load(cache, lease, here, full);
        object
    }

    /// A magazine with objects: the depot's, or one from the slabs.
    fn full_magazine(&self, cache: &RawCache, lease: &Lease, shape: Shape, here: Here) -> Option<Sheaf> {
        let counters = &cache.nodes[here.node].counters;
        if let Some(full) = cache.depots[here.node].take_full(&self.percpu, cache.slot(), lease, &counters.locks) {
            count(&counters.shared_hit);
            return Some(full);
        }
        // The previous magazine is empty: it is the one to fill.
        let empty = match self.percpu.claim(lease, Place::spare(cache.slot())) {
            Some(magazine) if !magazine.is_empty() => return Some(magazine),
            Some(magazine) => magazine,
            None => self.empty_sheaf(shape)?,
        };
        Held::new(self, empty).filled(|magazine| magazine.fill(shape.cap, |out| self.grab(cache, here, out)))
    }

    /// Makes `magazine` the loaded one, and the one before it the previous.
    fn load(&self, cache: &RawCache, lease: &Lease, here: Here, magazine: Sheaf) {
        match self.percpu.install(lease, Place::main(cache.slot()), magazine) {
            Ok(None) => {}
            Ok(Some(loaded)) => self.retire(cache, lease, here, loaded),
            Err(magazine) => self.put_away(cache, lease, here, magazine),
        }
    }

    /// Makes a magazine that was loaded the previous one. The one before it goes to the depot.
    fn retire(&self, cache: &RawCache, lease: &Lease, here: Here, loaded: Sheaf) {
        match self.percpu.install(lease, Place::spare(cache.slot()), loaded) {
            Ok(None) => {}
            Ok(Some(left)) | Err(left) => self.put_away(cache, lease, here, left),
        }
    }

    /// Finds a place for a magazine outside the CPU: the depot, if it is full or empty and there is room; else its objects go home.
    fn put_away(&self, cache: &RawCache, lease: &Lease, here: Here, magazine: Sheaf) {
        let (depot, counters, slot) = (&cache.depots[here.node], &cache.nodes[here.node].counters, cache.slot());
        let most = cache.tuning().shared_objects() / magazine.shape().cap.max(1);
        let left = if magazine.is_full() {
            depot.put_full(&self.percpu, slot, lease, magazine, most, &counters.locks).map(|()| count(&counters.shared_put))
        } else if magazine.is_empty() {
            depot.put_empty(&self.percpu, slot, lease, magazine, most, &counters.locks)
        } else {
            Err(magazine)
        };
        if let Err(magazine) = left {
            self.dissolve(cache, magazine);
        }
    }

    /// Puts `object` into the previous magazine, if that is empty, or into a new one. False if there is none to be had.
    pub(crate) fn free_magazine(&self, cache: &RawCache, lease: &Lease, shape: Shape, here: Here, object: *mut u8) -> bool {
        let previous = self.percpu.peek(Place::spare(cache.slot()));
        if !previous.is_full(shape) && self.percpu.rotate_push(lease, previous, previous.turns(), object) {
            return true;
        }
        let locks = &cache.nodes[here.node].counters.locks;
        let empty = cache.depots[here.node].take_empty(&self.percpu, cache.slot(), lease, locks);
        let Some(mut empty) = empty.or_else(|| self.empty_sheaf(shape)) else { return false };
        let kept = empty.push(object);
        self.load(cache, lease, here, empty);
        kept
    }
}
