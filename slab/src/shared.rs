//! Alien arrays: objects that were freed on another node than their slab's. Theory 3.5.

use crate::cache::RawCache;
use crate::config::ALIEN_LIMIT;
use crate::grow::Leaving;
use crate::slab::Slab;
use crate::stats::count;
use kmem_base::percpu::{Shape, Sheaf};
use kmem_base::sync::{Lock, Rank};

/// Shape of an alien array.
const SHAPE: Shape = Shape::holding(ALIEN_LIMIT);

/// Objects of one remote node. A sheaf once there were any.
#[derive(Debug)]
pub(crate) struct Alien(Lock<Option<Sheaf>, { Rank::Depot.of() }>);

impl Alien {
    pub(crate) fn new() -> Self {
        Self(Lock::new(None))
    }

    /// Calls `each` with the objects in it.
    pub(crate) fn each(&self, each: &mut dyn FnMut(&[*mut u8])) {
        if let Some(sheaf) = &*self.0.lock() {
            each(sheaf.objects());
        }
    }

    /// Objects in it.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().as_ref().map_or(0, |sheaf| sheaf.len() as usize)
    }

    pub(crate) fn prepare_fork(&self) {
        self.0.acquire();
    }

    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe { self.0.release() };
    }
}

/// What became of an object that was to go into an alien array.
enum Pushed {
    /// It is there.
    Kept,
    /// There is no array yet.
    NoArray,
    /// There was no room; the array is the caller's now.
    Full(Sheaf),
}

impl Alien {
    fn push(&self, object: *mut u8) -> Pushed {
        let mut array = self.0.lock();
        match array.as_mut().map(|sheaf| sheaf.push(object)) {
            Some(true) => Pushed::Kept,
            Some(false) => array.take().map_or(Pushed::NoArray, Pushed::Full),
            None => Pushed::NoArray,
        }
    }

    /// Makes `fresh` the array, unless there is one by now: then `fresh` comes back.
    fn begin(&self, fresh: Sheaf) -> Option<Sheaf> {
        let mut array = self.0.lock();
        if array.is_some() {
            return Some(fresh);
        }
        *array = Some(fresh);
        None
    }
}

impl Slab {
    /// Frees an object whose slab is of node `home`, on a CPU of node `here`: into the alien array, which goes home as a whole once it is
    /// full. No lock is held while it does.
    #[doc(alias = "cache_free_alien")]
    pub(crate) fn free_alien(&self, cache: &RawCache, here: usize, home: usize, object: *mut u8) {
        let node = &cache.nodes[here];
        let alien = &node.aliens[home];
        count(&node.counters.alien);
        count(&node.counters.locks);
        let mut leaving = Leaving::new(self, cache);
        match alien.push(object) {
            Pushed::Kept => return,
            Pushed::Full(sheaf) => {
                self.dissolve(cache, sheaf, Some(&mut leaving));
                self.bring_home(cache, &[object], Some(&mut leaving));
            }
            Pushed::NoArray => match self.empty_sheaf(SHAPE) {
                Some(mut fresh) => {
                    let _there_is_room = fresh.push(object);
                    if let Some(fresh) = alien.begin(fresh) {
                        self.dissolve(cache, fresh, Some(&mut leaving));
                    }
                }
                None => self.bring_home(cache, &[object], Some(&mut leaving)),
            },
        }
        // Last, since a destructor may unwind.
        leaving.destroy();
    }

    /// Sends home what one alien array holds. Returns how many objects. Slabs stay.
    pub(crate) fn drain_alien(&self, cache: &RawCache, here: usize, home: usize) -> usize {
        let Some(alien) = cache.nodes[here].aliens.get(home) else { return 0 };
        let Some(sheaf) = alien.0.lock().take() else { return 0 };
        let objects = sheaf.len() as usize;
        self.dissolve(cache, sheaf, None);
        objects
    }
}
