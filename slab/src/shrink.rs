//! Giving up everything that is not in use. Theory 6.4.

use crate::cache::RawCache;
use crate::grow::Leaving;
use crate::node::Node;
use crate::slab::Slab;
use kmem_base::percpu::{Idle, Shape};

impl Slab {
    /// Gives up all that the cache holds without need: what stands before its slabs, and every entirely free slab; and gives free pages back
    /// to the system. Returns pages released.
    #[doc(alias = "kmem_cache_shrink")]
    pub fn shrink(&self, cache: &RawCache) -> usize {
        self.drain_all(cache);
        self.give_up_slabs(cache) * cache.geometry().pages as usize
    }

    /// Gives every entirely free slab back, and free pages to the system. Returns how many slabs.
    pub(crate) fn give_up_slabs(&self, cache: &RawCache) -> usize {
        let released = self.release_free(cache, 0, usize::MAX);
        self.grace.settle(&self.pages);
        self.pages.purge(true);
        released
    }

    /// The same for every cache. Returns bytes that went back to the system.
    pub fn trim(&self) -> usize {
        // Lists lie in objects of smaller general caches, which come first.
        for cache in self.caches().rev() {
            if let Some(_visit) = cache.visit() {
                self.drain_all(cache);
                self.release_free(cache, 0, usize::MAX);
            }
        }
        self.grace.settle(&self.pages);
        self.pages.purge(true)
    }

    /// Entirely free slabs of every cache alone. Returns bytes that went back to the system.
    pub fn trim_slabs(&self) -> usize {
        for cache in self.caches().rev() {
            if let Some(_visit) = cache.visit() {
                self.release_free(cache, 0, usize::MAX);
            }
        }
        self.grace.settle(&self.pages);
        self.pages.purge(true)
    }

    /// Sends everything home that stands before the slabs. They stay. False if CPUs cannot be interrupted: then their arrays stay, too.
    pub(crate) fn drain_all(&self, cache: &RawCache) -> bool {
        let drained = self.percpu.drain_and(
            cache.slot(),
            Idle::Any,
            || self.is_in_place(cache),
            |sheaf| self.dissolve(cache, sheaf, None),
            |shape| {
                self.empty_depots(cache, shape);
                None
            },
        );
        self.empty_shared(cache);
        drained
    }

    /// Takes every magazine out of the depots, during a drain.
    pub(crate) fn empty_depots(&self, cache: &RawCache, shape: Shape) {
        for depot in cache.depots.iter().filter(|_| shape.cap > 0) {
            while let Some(magazine) = depot.take_any(shape) {
                self.dissolve(cache, magazine, None);
            }
        }
    }

    /// Sends home what shared and alien arrays hold.
    pub(crate) fn empty_shared(&self, cache: &RawCache) {
        for (here, node) in cache.nodes.iter().enumerate() {
            let shared = node.lock().shared.take();
            if let Some(shared) = shared {
                self.dissolve(cache, shared, None);
            }
            (0..node.aliens.len()).for_each(|home| {
                self.drain_alien(cache, here, home);
            });
        }
    }

    /// Gives entirely free slabs back, `most` per node, while a node has more than `keep` free objects. Returns how many.
    pub(crate) fn release_free(&self, cache: &RawCache, keep: usize, most: usize) -> usize {
        cache.nodes.iter().map(|node| self.release_free_of(cache, node, keep, most)).sum()
    }

    /// The same of one node.
    pub(crate) fn release_free_of(&self, cache: &RawCache, node: &Node, keep: usize, most: usize) -> usize {
        let mut leaving = Leaving::new(self, cache);
        {
            let mut lists = node.lock();
            leaving.take(&mut lists, keep, most);
        }
        // Destructors run here, where no lock is held.
        leaving.destroy()
    }

    /// Gives back those entirely free slabs that are too many. Returns how many.
    pub(crate) fn release_surplus(&self, cache: &RawCache) -> usize {
        let mut leaving = Leaving::new(self, cache);
        for node in cache.nodes {
            let mut lists = node.lock();
            let limit = lists.free_limit;
            leaving.take(&mut lists, limit, usize::MAX);
        }
        leaving.destroy()
    }
}
