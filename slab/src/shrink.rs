//! Giving up everything that is not in use. Theory 6.4.

use crate::cache::RawCache;
use crate::grow::Leaving;
use crate::slab::Slab;
use core::cell::{Cell, RefCell};
use kmem_base::percpu::{Idle, Shape, Sheaf};

impl Slab {
    /// Gives up all that the cache holds without need: what stands before its slabs, and every entirely free slab; and gives free pages back
    /// to the system. Returns pages released.
    #[doc(alias = "kmem_cache_shrink")]
    pub fn shrink(&self, cache: &RawCache) -> usize {
        self.drain_all(cache);
        let released = self.release_free(cache, 0, usize::MAX);
        self.grace.settle(&self.pages);
        self.pages.purge(true);
        released * cache.geometry().pages as usize
    }

    /// The same for every cache. Returns bytes that went back to the system.
    pub fn trim(&self) -> usize {
        for cache in self.caches() {
            self.drain_all(cache);
            self.release_free(cache, 0, usize::MAX);
        }
        self.grace.settle(&self.pages);
        self.pages.purge(true)
    }

    /// Entirely free slabs of every cache alone. Returns bytes that went back to the system.
    pub fn trim_slabs(&self) -> usize {
        self.caches().for_each(|cache| {
            self.release_free(cache, 0, usize::MAX);
        });
        self.grace.settle(&self.pages);
        self.pages.purge(true)
    }

    /// Sends everything home that stands before the slabs.
    pub(crate) fn drain_all(&self, cache: &RawCache) {
        self.drain(cache, Idle::Any, |_, _| None);
        self.empty_shared(cache);
    }

    /// Takes the sheaves out of the rows that `which` selects, and every magazine out of the depots unless that leaves rows out; then `settle`
    /// says what shape they have from now on. Returns how many objects went home; `None` if that cannot be done.
    pub(crate) fn drain(
        &self,
        cache: &RawCache,
        which: Idle,
        settle: impl FnOnce(&RawCache, Shape) -> Option<Shape>,
    ) -> Option<usize> {
        // Slabs leave, and objects are destroyed, once no lock is held.
        let (leaving, objects) = (RefCell::new(Leaving::new(self, cache)), Cell::new(0));
        let home = |sheaf: Sheaf| {
            objects.set(objects.get() + sheaf.len() as usize);
            self.take_home(cache, sheaf, &mut leaving.borrow_mut());
        };
        let done = self.percpu.drain_and(
            cache.slot(),
            which,
            || self.is_in_place(cache),
            home,
            |shape| {
                if which == Idle::Any && shape.cap > 0 {
                    cache.depots.iter().for_each(|depot| {
                        while let Some(magazine) = depot.take_any(shape) {
                            home(magazine)
                        }
                    });
                }
                settle(cache, shape)
            },
        );
        leaving.into_inner().destroy();
        done.then(|| objects.get())
    }

    /// Sends home what shared and alien arrays hold.
    pub(crate) fn empty_shared(&self, cache: &RawCache) {
        for (here, node) in cache.nodes.iter().enumerate() {
            let shared = node.lock().shared.take();
            if let Some(shared) = shared {
                self.dissolve(cache, shared);
            }
            (0..node.aliens.len()).for_each(|home| {
                self.drain_alien(cache, here, home);
            });
        }
    }

    /// Gives entirely free slabs back, `most` per node, while a node has more than `keep` free objects. Returns how many.
    pub(crate) fn release_free(&self, cache: &RawCache, keep: usize, most: usize) -> usize {
        let mut released = 0;
        for node in cache.nodes {
            let mut leaving = Leaving::new(self, cache);
            {
                let mut lists = node.lock();
                lists.release(cache.geometry(), keep, most, leaving.pages());
            }
            // Destructors run here, where no lock is held.
            released += leaving.destroy();
        }
        released
    }
}
