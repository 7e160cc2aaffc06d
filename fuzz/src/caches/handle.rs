//! A user of a cache, and what it holds.

use crate::made::{Made, guarded};
use kmem_base::classes::CLASSES;
use kmem_slubq::{Cache, Reservation, Slubq, Spec};
use kmem_testkit::Shadow;
use std::alloc::Layout;
use std::sync::atomic::Ordering;

pub(super) struct Handle {
    pub(super) cache: &'static Cache,
    pub(super) layout: Layout,
    pub(super) reservations: Vec<Reservation<'static>>,
    objects: Vec<*mut u8>,
    made: Option<Box<Made>>,
    destructor: bool,
}

impl Handle {
    pub(super) fn new(cache: &'static Cache, spec: &Spec<'_>, made: Option<Box<Made>>, destructor: bool) -> Self {
        let layout = Layout::from_size_align(spec.size, spec.align).expect("the cache took it");
        Self { cache, layout, reservations: Vec::new(), objects: Vec::new(), made, destructor }
    }

    pub(super) fn is_general(&self) -> bool {
        self.cache.slot().index() < CLASSES
    }

    /// Objects in use by this handle.
    pub(super) fn live(&self) -> usize {
        self.objects.len() + self.reservations.iter().map(|reservation| reservation.len() as usize).sum::<usize>()
    }

    /// Sets a fuse.
    pub(super) fn light(&self, constructor: bool, count: u8) {
        if let Some(made) = &self.made {
            let fuse = if constructor { &made.constructor_fuse } else { &made.destructor_fuse };
            fuse.store(count.into(), Ordering::Relaxed);
        }
    }

    /// Keeps an object that the cache handed out.
    pub(super) fn take(&mut self, shadow: &mut Shadow, object: *mut u8) {
        // SAFETY: the object is the handle's.
        unsafe {
            if let Some(made) = &self.made {
                assert!(made.is_made(object), "an object is not in its constructed state");
            }
            shadow.allocated(object, self.layout, false).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        self.objects.push(object);
    }

    /// Takes the object number `which` out, and leaves it as its next user wants to find it.
    fn give(&mut self, shadow: &mut Shadow, which: usize) -> *mut u8 {
        let object = self.objects.swap_remove(which);
        // SAFETY: the object is the handle's, and filled by the shadow.
        unsafe {
            shadow.freeing(object, self.layout).unwrap_or_else(|wrong| panic!("{wrong}"));
            if let Some(made) = &self.made {
                made.write(object);
            }
        }
        object
    }

    pub(super) fn free(&mut self, slubq: &Slubq, shadow: &mut Shadow, which: u16) {
        if self.objects.is_empty() {
            return;
        }
        let object = self.give(shadow, usize::from(which) % self.objects.len());
        // SAFETY: it is of this cache, dead, and in its constructed state.
        guarded(|| unsafe { slubq.free_object(self.cache, object) });
    }

    /// Frees `count` objects from somewhere in the middle.
    pub(super) fn free_bulk(&mut self, slubq: &Slubq, shadow: &mut Shadow, count: u16) {
        let count = usize::from(count) % (self.objects.len() + 1);
        let objects: Vec<_> = (0..count).map(|at| self.give(shadow, (at * 7) % self.objects.len())).collect();
        // SAFETY: they are of this cache, dead, and in their constructed state.
        guarded(|| unsafe { slubq.free_bulk(self.cache, &objects) });
    }

    /// Takes an object that was set aside.
    pub(super) fn draw(&mut self, shadow: &mut Shadow) {
        let Some(reservation) = self.reservations.last_mut() else { return };
        if reservation.is_empty() {
            self.reservations.pop();
        } else {
            let object = reservation.alloc();
            self.take(shadow, object);
        }
    }

    pub(super) fn unreserve(&mut self) {
        let reservation = self.reservations.pop();
        guarded(|| drop(reservation));
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self, slubq: &Slubq, shadow: &mut Shadow) {
        while !self.reservations.is_empty() {
            self.unreserve();
        }
        while !self.objects.is_empty() {
            self.free(slubq, shadow, 0);
        }
    }

    /// Every object that the slabs have room for is constructed, once.
    pub(super) fn check_made(&self, slubq: &Slubq) {
        if let Some(made) = self.made.as_ref().filter(|_| self.destructor) {
            assert_eq!(made.alive.load(Ordering::Relaxed), slubq.cache_info(self.cache).objects as i64);
        }
    }

    /// The cache was destroyed; `shared` if others still use it.
    pub(super) fn gone(self, shared: bool) {
        if let Some(made) = self.made.filter(|_| self.destructor) {
            assert!(!shared, "a constructed cache is nobody else's");
            assert_eq!(made.alive.load(Ordering::Relaxed), 0, "objects were not destroyed");
        }
    }
}
