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
        match objects {
            [] => {}
            // Past the queues: one slab, and no need to remember others.
            [object] => {
                let mut put = Put::into(self.slab_of(cache, *object));
                self.add(cache, &mut put, objects);
                self.finish(cache, &put);
            }
            _ => self.flush_many(cache, objects),
        }
    }

    fn flush_many(&self, cache: &Cache, objects: &[*mut u8]) {
        let (mut open, mut rest) = ([None; OPEN], objects);
        while let Some(&first) = rest.first() {
            let place: &mut Option<Put<'_>> = &mut open[first.addr() >> PAGE_SHIFT & (OPEN - 1)];
            let put = match place {
                Some(put) if put.holds(first) => put,
                _ => {
                    if let Some(put) = place {
                        self.finish(cache, put);
                    }
                    place.insert(Put::into(self.slab_of(cache, first)))
                }
            };
            rest = &rest[self.add(cache, put, rest)..];
        }
        for put in open.iter().flatten() {
            self.finish(cache, put);
        }
    }

    /// As [`Put::add`]; faults where that fails.
    #[inline]
    fn add(&self, cache: &Cache, put: &mut Put<'_>, objects: &[*mut u8]) -> usize {
        match put.add(objects) {
            Ok(run) => run,
            Err((fault, object)) => die(fault, object.addr(), cache.name()),
        }
    }

    #[inline]
    fn finish(&self, cache: &Cache, put: &Put<'_>) {
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
