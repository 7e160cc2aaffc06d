//! Bonwick's front end: a loaded and a previous magazine per CPU, and a depot. Theory 3.3.
//!
//! The loaded magazine is the CPU's main sheaf, the previous one its spare. Both are full or empty but for the loaded one, so that at
//! least a magazine's worth of operations lies between two visits to the depot.

use crate::cache::RawCache;
use crate::grow::Leaving;
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
        // No destructor may unwind, or the object would be lost.
        self.load(cache, lease, here, full, None);
        object
    }

    /// A magazine with objects: the depot's, for the previous one, which is empty; or that one, filled from the slabs.
    fn full_magazine(&self, cache: &RawCache, lease: &Lease, shape: Shape, here: Here) -> Option<Sheaf> {
        let empty = match self.percpu.claim(lease, Place::spare(cache.slot())) {
            Some(magazine) if !magazine.is_empty() => return Some(magazine),
            empty => empty,
        };
        let counters = &cache.nodes[here.node].counters;
        match cache.depots[here.node].take_full(&self.percpu, cache.slot(), lease, empty, &counters.locks) {
            Ok(full) => {
                count(&counters.shared_hit);
                Some(full)
            }
            Err(empty) => {
                let empty = empty.or_else(|| self.empty_sheaf(shape))?;
                self.filled(cache, here, empty, shape.cap)
            }
        }
    }

    /// Makes `magazine` the loaded one, and the one before it the previous.
    fn load(&self, cache: &RawCache, lease: &Lease, here: Here, magazine: Sheaf, leaving: Option<&mut Leaving<'_>>) {
        let left = match self.percpu.install(lease, Place::main(cache.slot()), magazine) {
            Ok(None) => return,
            Ok(Some(loaded)) => match self.percpu.install(lease, Place::spare(cache.slot()), loaded) {
                Ok(None) => return,
                Ok(Some(left)) | Err(left) => left,
            },
            Err(magazine) => magazine,
        };
        // Somebody else was here meanwhile, or a drain has begun.
        let empty = match left.is_full() {
            true => self.put_full(cache, lease, here, left, leaving),
            false => Some(self.emptied(cache, left, leaving)),
        };
        if let Some(empty) = empty {
            self.blocks.put(&self.percpu, empty);
        }
    }

    /// Puts `object` into the previous magazine, if that is not full; else into an empty one, and the previous one goes to the depot. False
    /// if there is none to be had.
    pub(crate) fn free_magazine(
        &self,
        cache: &RawCache,
        lease: &Lease,
        shape: Shape,
        here: Here,
        object: *mut u8,
        leaving: &mut Leaving<'_>,
    ) -> bool {
        let previous = self.percpu.peek(Place::spare(cache.slot()));
        if !previous.is_full(shape) && self.percpu.rotate_push(lease, previous, previous.turns(), object) {
            return true;
        }
        let room = match self.percpu.claim(lease, Place::spare(cache.slot())) {
            Some(full) if full.is_full() => self.put_full(cache, lease, here, full, Some(leaving)),
            other => other,
        };
        let Some(mut room) = room.or_else(|| self.empty_sheaf(shape)) else { return false };
        let kept = room.push(object);
        self.load(cache, lease, here, room, Some(leaving));
        kept
    }

    /// Puts a full magazine into the depot, or its objects into the slabs. Returns an empty one, if there is one for it.
    fn put_full(
        &self,
        cache: &RawCache,
        lease: &Lease,
        here: Here,
        full: Sheaf,
        leaving: Option<&mut Leaving<'_>>,
    ) -> Option<Sheaf> {
        let (depot, counters) = (&cache.depots[here.node], &cache.nodes[here.node].counters);
        let most = cache.tuning().shared_objects() / full.shape().cap.max(1);
        match depot.put_full(&self.percpu, cache.slot(), lease, full, most, &counters.locks) {
            Ok(empty) => {
                count(&counters.shared_put);
                empty
            }
            Err(full) => Some(self.emptied(cache, full, leaving)),
        }
    }

    /// The same magazine, and its objects in their slabs.
    fn emptied(&self, cache: &RawCache, mut magazine: Sheaf, leaving: Option<&mut Leaving<'_>>) -> Sheaf {
        self.bring_home(cache, magazine.objects(), leaving);
        magazine.clear();
        magazine
    }
}
