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

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;
    use crate::cache::{Flags, Spec, Tunable};
    use kmem_base::knobs::{Knob, Settings};
    use kmem_testkit::SplitMix64;
    use std::boxed::Box;
    use std::collections::BTreeMap;
    use std::vec;

    /// More slabs than a flush keeps open, objects in any order: each slab has exactly what came back to it, and is listed.
    #[test]
    fn each_object_goes_back_to_its_own_slab() {
        for (size, slabs) in [(1024, 3 * OPEN + 5), (344, OPEN + 9), (24, 2), (5000, OPEN), (256 << 10, 5)] {
            let slubq: &'static Slubq = Box::leak(Box::new(Slubq::system()));
            assert!(slubq.start(&Settings::new().with(Knob::Queues, 0).with(Knob::DecayMs, 0).with(Knob::Shards, 1)));
            let cache = slubq.create(&Spec::new("flushed", size, 8).with(Flags::NO_MERGE)).unwrap();
            slubq.tune(cache, Tunable::MinPartial, 1000).unwrap();
            let per_slab = cache.geometry.objects as usize;
            let mut objects = vec![core::ptr::null_mut(); slabs * per_slab];
            assert_eq!(slubq.alloc_bulk(cache, &mut objects), objects.len());
            assert_eq!(cache.slabs(), slabs);
            let mut random = SplitMix64::new(size as u64);
            (1..objects.len()).for_each(|at| objects.swap(at, random.below(at + 1)));
            let mut free: BTreeMap<usize, i32> = BTreeMap::new();
            for part in objects.chunks(objects.len() / 3) {
                slubq.flush(cache, part);
                for object in part {
                    assert!(slubq.slab_of(cache, *object).state().is_listed());
                    *free.entry(slubq.slab_of(cache, *object).page().address()).or_default() += 1;
                }
                slubq.check().unwrap();
                for object in &objects {
                    let slab = slubq.slab_of(cache, *object);
                    assert_eq!(slab.state().free(), free.get(&slab.page().address()).copied().unwrap_or(0), "{size}");
                }
            }
            assert_eq!((free.len(), cache.slabs()), (slabs, slabs));
            slubq.shrink(cache);
            assert_eq!(cache.slabs(), 0);
        }
    }

    /// Slabs of 32 pages, one behind the other: their objects fall on the same places of the table, and where one slab ends the next begins.
    #[test]
    fn a_slab_ends_where_the_next_begins() {
        let slubq: &'static Slubq = Box::leak(Box::new(Slubq::system()));
        assert!(slubq.start(&Settings::new().with(Knob::Queues, 0).with(Knob::DecayMs, 0).with(Knob::Shards, 1)));
        let cache = slubq.create(&Spec::new("long", 256 << 10, 8).with(Flags::NO_MERGE)).unwrap();
        let (per_slab, bytes) = (cache.geometry.objects as usize, cache.geometry.bytes());
        assert_eq!(bytes >> PAGE_SHIFT, OPEN);
        let mut objects = vec![core::ptr::null_mut(); 2 * per_slab];
        assert_eq!(slubq.alloc_bulk(cache, &mut objects), objects.len());
        objects.sort_unstable();
        assert_eq!(objects[per_slab].addr(), objects[0].addr() + bytes);
        slubq.flush(cache, &[objects[0], objects[per_slab]]);
        assert_eq!([0, per_slab].map(|at| slubq.slab_of(cache, objects[at]).state().free()), [1, 1]);
        slubq.flush(cache, &[objects[per_slab + 1], objects[1]]);
        assert_eq!([0, per_slab].map(|at| slubq.slab_of(cache, objects[at]).state().free()), [2, 2]);
        slubq.check().unwrap();
    }
}
