//! Linux's front end: an array per CPU, and one that a node's CPUs share. Theory 3.2.
//!
//! An array is the CPU's main sheaf. Whoever finds it empty or full takes it out, moves half of it, and puts it back.

use crate::cache::RawCache;
use crate::config::UNTOUCHED_BATCH;
use crate::grow::Leaving;
use crate::node::Lists;
use crate::slab::{Here, Slab};
use crate::stats::count;
use core::ptr::null_mut;
use kmem_base::percpu::{Lease, Place, Shape, Sheaf};

/// A sheaf that is being filled. It is dissolved if a constructor unwinds, or there is nothing to put into it.
struct Held<'a> {
    slab: &'a Slab,
    cache: &'a RawCache,
    sheaf: Option<Sheaf>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(sheaf) = self.sheaf.take() {
            self.slab.dissolve(self.cache, sheaf, None);
        }
    }
}

impl Slab {
    /// An object out of a refilled array; null if there is none.
    #[doc(alias = "cache_alloc_refill")]
    pub(crate) fn alloc_array(&self, cache: &RawCache, lease: &Lease, shape: Shape, here: Here, row: u32) -> *mut u8 {
        let sheaf = match self.percpu.claim(lease, Place::main(cache.slot())) {
            Some(sheaf) if !sheaf.is_empty() => Some(sheaf),
            Some(sheaf) => self.refilled(cache, here, row, sheaf),
            None => self.empty_sheaf(shape).and_then(|sheaf| self.refilled(cache, here, row, sheaf)),
        };
        let Some(mut sheaf) = sheaf else { return null_mut() };
        let object = sheaf.pop().unwrap_or(null_mut());
        self.install_array(cache, lease, sheaf, None);
        object
    }

    /// An empty sheaf; `None` if there is no memory for one.
    pub(crate) fn empty_sheaf(&self, shape: Shape) -> Option<Sheaf> {
        self.blocks.get(&self.percpu, &self.meta, &self.pages, shape)
    }

    /// Puts an array in place. Whatever was installed meanwhile goes back to the slabs; so does this one, if it cannot be installed.
    fn install_array(&self, cache: &RawCache, lease: &Lease, sheaf: Sheaf, leaving: Option<&mut Leaving<'_>>) {
        match self.percpu.install(lease, Place::main(cache.slot()), sheaf) {
            Ok(None) => {}
            Ok(Some(left)) | Err(left) => self.dissolve(cache, left, leaving),
        }
    }

    /// `sheaf`, which is empty, with a batch: what is shared first.
    #[doc(alias = "cache_alloc_refill")]
    fn refilled(&self, cache: &RawCache, here: Here, row: u32, sheaf: Sheaf) -> Option<Sheaf> {
        let batch = cache.tuning().batch;
        let batch = if cache.touch(row) { batch } else { batch.min(UNTOUCHED_BATCH) };
        self.filled(cache, here, sheaf, batch)
    }

    /// `sheaf`, which is empty, with `batch` objects: shared ones, then from slabs, then from a new slab. Fewer if there is no memory;
    /// `None` if there is not one. Two locks at most.
    pub(crate) fn filled(&self, cache: &RawCache, here: Here, sheaf: Sheaf, batch: u32) -> Option<Sheaf> {
        let mut held = Held { slab: self, cache, sheaf: Some(sheaf) };
        let sheaf = held.sheaf.as_mut()?;
        let colour = {
            let mut lists = cache.nodes[here.node].lock();
            self.fill_listed(cache, here, &mut lists, sheaf, batch);
            lists.next_colour_if(cache.geometry(), sheaf.len() < batch)
        };
        if let Some(colour) = colour {
            sheaf.fill(batch - sheaf.len(), |out| self.grow(cache, here, colour, out));
        }
        if sheaf.is_empty() && cache.nodes.len() > 1 {
            sheaf.fill(batch, |out| self.grab_elsewhere(cache, here, out));
        }
        if sheaf.is_empty() { None } else { held.sheaf.take() }
    }

    /// What there is without growing, up to `batch` objects.
    fn fill_listed(&self, cache: &RawCache, here: Here, lists: &mut Lists, sheaf: &mut Sheaf, batch: u32) {
        if let Some(shared) = lists.shared.as_mut().filter(|shared| !shared.is_empty()) {
            shared.move_newest(sheaf, batch);
            lists.shared_touched = true;
            count(&cache.nodes[here.node].counters.shared_hit);
        }
        // Read under the lock, as it changes only then.
        let geometry = cache.geometry();
        sheaf.fill(batch - sheaf.len(), |out| lists.take(geometry, out));
    }

    /// Makes room in the CPU's array and puts `object` there. False if there is no array to be had.
    #[doc(alias = "cache_flusharray")]
    pub(crate) fn free_array(
        &self,
        cache: &RawCache,
        lease: &Lease,
        shape: Shape,
        here: Here,
        object: *mut u8,
        leaving: &mut Leaving<'_>,
    ) -> bool {
        let sheaf = self.percpu.claim(lease, Place::main(cache.slot()));
        let Some(mut sheaf) = sheaf.or_else(|| self.empty_sheaf(shape)) else { return false };
        if sheaf.is_full() {
            self.flush_batch(cache, here, &mut sheaf, leaving);
        }
        let kept = sheaf.push(object);
        self.install_array(cache, lease, sheaf, Some(leaving));
        kept
    }

    /// Moves the oldest batch of a full array to the shared one, as far as there is room; to the slabs if there is none.
    fn flush_batch(&self, cache: &RawCache, here: Here, sheaf: &mut Sheaf, leaving: &mut Leaving<'_>) {
        let tuning = cache.tuning();
        let batch = tuning.batch.min(sheaf.len());
        if tuning.shared_objects() > 0 && self.share(cache, here, tuning.shared_objects(), sheaf, batch) {
            return;
        }
        self.bring_home(cache, &sheaf.objects()[..batch as usize], Some(leaving));
        sheaf.forget_oldest(batch);
    }

    /// Moves up to `batch` objects to the shared array, which holds `most`. False if it has no room.
    fn share(&self, cache: &RawCache, here: Here, most: u32, sheaf: &mut Sheaf, batch: u32) -> bool {
        let node = &cache.nodes[here.node];
        let mut lists = node.lock();
        if lists.shared.is_none() && cache.tuning().shared_objects() == most {
            drop(lists);
            let Some(fresh) = self.empty_sheaf(Shape::holding(most)) else { return false };
            lists = node.lock();
            // Nor is one begun that was tuned off meanwhile: whoever tunes publishes under this lock, and empties what is shared then.
            if lists.shared.is_some() || cache.tuning().shared_objects() != most {
                drop(lists);
                self.blocks.put(&self.percpu, fresh);
                lists = node.lock();
            } else {
                lists.shared = Some(fresh);
            }
        }
        lists.shared_touched = true;
        let Some(shared) = lists.shared.as_mut().filter(|shared| shared.room() > 0) else { return false };
        sheaf.move_oldest(shared, batch);
        count(&node.counters.shared_put);
        true
    }
}
