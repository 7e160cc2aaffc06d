//! A user of a cache, and what it holds.

use super::pool::Pool;
use crate::made::{Made, guarded};
use kmem_slab::{Flags, RawCache, Slab};
use kmem_testkit::Shadow;
use std::alloc::Layout;
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

pub(super) struct Handle {
    pub(super) cache: &'static RawCache,
    pub(super) layout: Layout,
    pub(super) pool: Option<Pool>,
    pub(super) general: bool,
    objects: Vec<*mut u8>,
    /// Where objects without bytes are, which the shadow cannot tell apart.
    empty: RefCell<HashSet<usize>>,
    made: Option<Box<Made>>,
    destructor: bool,
}

impl Handle {
    pub(super) fn new(cache: &'static RawCache, layout: Layout, general: bool, made: Option<Box<Made>>, destructor: bool) -> Self {
        let (objects, empty) = (Vec::new(), RefCell::default());
        Self { cache, layout, pool: None, general, objects, empty, made, destructor }
    }

    /// Objects in use by this handle.
    pub(super) fn live(&self) -> usize {
        self.objects.len() + self.pool.as_ref().map_or(0, Pool::held)
    }

    pub(super) fn is_typesafe(&self) -> bool {
        self.cache.flags().has(Flags::TYPESAFE)
    }

    /// Sets a fuse.
    pub(super) fn light(&self, constructor: bool, count: u8) {
        if let Some(made) = &self.made {
            let fuse = if constructor { &made.constructor_fuse } else { &made.destructor_fuse };
            fuse.store(count.into(), Ordering::Relaxed);
        }
    }

    /// Notes an object that the cache handed out.
    pub(super) fn note(&self, shadow: &mut Shadow, object: *mut u8) {
        if self.layout.size() == 0 {
            assert!(object.addr().is_multiple_of(self.layout.align()) && self.empty.borrow_mut().insert(object.addr()));
            return;
        }
        // SAFETY: the object is the handle's.
        unsafe {
            if let Some(made) = &self.made {
                assert!(made.is_made(object), "an object is not in its constructed state");
            }
            shadow.allocated(object, self.layout, false).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    }

    /// Keeps one.
    pub(super) fn take(&mut self, shadow: &mut Shadow, object: *mut u8) {
        self.note(shadow, object);
        self.objects.push(object);
    }

    /// Leaves an object as its next user wants to find it.
    pub(super) fn leave(&self, shadow: &mut Shadow, object: *mut u8) {
        if self.layout.size() == 0 {
            assert!(self.empty.borrow_mut().remove(&object.addr()));
            return;
        }
        // SAFETY: the object is the handle's, and filled by the shadow.
        unsafe {
            shadow.freeing(object, self.layout).unwrap_or_else(|wrong| panic!("{wrong}"));
            if let Some(made) = &self.made {
                made.write(object);
            }
        }
    }

    fn give(&mut self, shadow: &mut Shadow, which: usize) -> *mut u8 {
        let object = self.objects.swap_remove(which);
        self.leave(shadow, object);
        object
    }

    /// Frees an object; which one, if there was any.
    pub(super) fn free(&mut self, slab: &Slab, shadow: &mut Shadow, which: u16) -> Option<usize> {
        let which = usize::from(which).checked_rem(self.objects.len())?;
        let object = self.give(shadow, which);
        // SAFETY: it is of this cache, dead, and in its constructed state.
        guarded(|| unsafe { slab.free_object(self.cache, object) });
        Some(object.addr())
    }

    /// Frees `count` objects from somewhere in the middle.
    pub(super) fn free_bulk(&mut self, slab: &Slab, shadow: &mut Shadow, count: u16) -> Vec<usize> {
        let count = usize::from(count) % (self.objects.len() + 1);
        let objects: Vec<_> = (0..count).map(|at| self.give(shadow, (at * 7) % self.objects.len())).collect();
        // SAFETY: they are of this cache, dead, and in their constructed state.
        guarded(|| unsafe { slab.free_bulk(self.cache, &objects) });
        objects.into_iter().map(<*mut u8>::addr).collect()
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self, slab: &Slab, shadow: &mut Shadow) {
        if let Some(pool) = self.pool.take() {
            pool.close(self, shadow);
        }
        while self.free(slab, shadow, 0).is_some() {}
    }

    /// Every object that the slabs have room for is constructed, once.
    pub(super) fn check_made(&self, slab: &Slab) {
        if let Some(made) = self.made.as_ref().filter(|_| self.destructor) {
            assert_eq!(made.alive.load(Ordering::Relaxed), slab.cache_info(self.cache).objects as i64);
        }
    }

    /// The cache was destroyed.
    pub(super) fn gone(self) {
        if let Some(made) = self.made.filter(|_| self.destructor) {
            assert_eq!(made.alive.load(Ordering::Relaxed), 0, "objects were not destroyed");
        }
    }
}
