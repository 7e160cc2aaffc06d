//! Constructed objects: made when their slab is made, destroyed when it goes, and in their constructed state whenever they are free.

use crate::cache::Cache;
use crate::slab::Slab;
use crate::slubq::Slubq;
use kmem_base::pages::Pages;
use kmem_base::several::destroy_each;

/// A slab under construction. If a constructor unwinds, the objects made so far are destroyed and the pages go back.
struct Site<'a> {
    pages: &'a Pages,
    cache: &'a Cache,
    slab: Slab<'a>,
    made: u32,
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        destroy(self.cache, &self.slab, self.made);
        // SAFETY: the slab was never listed, and nothing of it was handed out.
        unsafe { self.pages.free(self.slab.page()) };
    }
}

fn destroy(cache: &Cache, slab: &Slab<'_>, count: u32) {
    if let Some(destructor) = cache.destructor {
        // SAFETY: constructed objects that nobody holds.
        destroy_each(count, |index| unsafe { destructor(slab.object(index), cache.context) });
    }
}

impl Slubq {
    /// Constructs every object of a new slab. Unwinds if a constructor does.
    pub(crate) fn construct(&self, cache: &Cache, slab: &Slab<'_>) {
        let Some(constructor) = cache.constructor else {
            return;
        };
        let mut site = Site { pages: &self.pages, cache, slab: *slab, made: 0 };
        while site.made < cache.geometry.objects {
            // SAFETY: memory of an object that holds none yet.
            unsafe { constructor(slab.object(site.made), cache.context) };
            site.made += 1;
        }
        core::mem::forget(site);
    }

    /// Destroys every object of a slab whose objects are all free.
    pub(crate) fn destruct(&self, cache: &Cache, slab: &Slab<'_>) {
        destroy(cache, slab, cache.geometry.objects);
    }
}
