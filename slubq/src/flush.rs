//! Flushing: objects go back to their slabs. Theory 3.5.

use crate::cache::Cache;
use crate::put::Put;
use crate::slab::{Duty, Slab};
use crate::slubq::Slubq;
use kmem_base::config::PAGE_SHIFT;
use kmem_base::fault::die;

/// Slabs that a flush keeps open, by address: a power of two.
const OPEN: usize = 32;

impl Slubq {
    /// Puts objects back into their slabs: one look-up and one count per slab as long as they are few, whatever the objects' order.
    pub(crate) fn flush(&self, cache: &Cache, objects: &[*mut u8]) {
        let (mut open, mut rest) = ([None; OPEN], objects);
        while let Some(&first) = rest.first() {
            let place: &mut Option<Put<'_>> = &mut open[first.addr() >> PAGE_SHIFT & (OPEN - 1)];
            let put = match place {
                Some(put) if put.holds(first) => put,
                _ => {
                    self.finish(cache, place);
                    place.insert(Put::into(self.slab_of(cache, first)))
                }
            };
            match put.add(rest) {
                Ok(run) => rest = &rest[run..],
                Err((fault, object)) => die(fault, object.addr(), cache.name()),
            }
        }
        for put in &open {
            self.finish(cache, put);
        }
    }

    #[inline]
    fn finish(&self, cache: &Cache, put: &Option<Put<'_>>) {
        let Some(put) = put else { return };
        match put.finish() {
            Duty::None => {}
            Duty::List => self.list(cache, put.slab()),
            Duty::Reconsider => self.reconsider(cache, put.slab()),
        }
    }

    /// The slab that `object` lies in; faults unless it is one of `cache`'s.
    pub(crate) fn slab_of<'a>(&self, cache: &'a Cache, object: *mut u8) -> Slab<'a> {
        match self.pages.slab_of(core::ptr::from_ref(cache).cast(), object.addr()) {
            // SAFETY: a slab of this cache, which an object that is not free yet keeps alive.
            Ok(page) => unsafe { Slab::new(page, &cache.geometry) },
            Err(fault) => die(fault, object.addr(), cache.name()),
        }
    }
}
