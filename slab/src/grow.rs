//! Slabs coming and going, and the objects in them: constructed when their slab is made, destroyed when it goes. Theory 2.3.

use crate::cache::{Flags, RawCache};
use crate::geometry::{Geometry, Placement};
use crate::node::Lists;
use crate::slab::{Here, Slab};
use crate::slabref::SlabRef;
use crate::stats::count;
use crate::visit::Visit;
use kmem_base::classes::Class;
use kmem_base::pages::{Kind, Page, PageList};
use kmem_base::several::destroy_each;
use kmem_base::sync::Ordering;

impl Slab {
    /// Makes a slab whose first object is moved by `colour`, takes objects from it into `out`, and lists it. Returns how many; 0 if there
    /// is no memory. No lock is held while objects are constructed; that may unwind.
    #[doc(alias = "cache_grow")]
    pub(crate) fn grow(&self, cache: &RawCache, here: Here, colour: usize, out: &mut [*mut u8]) -> usize {
        loop {
            let geometry = cache.geometry();
            // A colour of another geometry, if that has changed since, is none of this one.
            let colour = if colour <= geometry.left_over as usize { colour } else { 0 };
            let Some(site) = self.make(cache, geometry, here, colour) else { return 0 };
            let site = site.construct();
            let mut lists = cache.nodes[here.node].lock();
            if core::ptr::eq(cache.geometry(), geometry) {
                let slab = site.done();
                let taken = slab.take(out);
                lists.add(&slab, geometry);
                count(&cache.nodes[here.node].counters.grown);
                return taken;
            }
            // Debugging was switched meanwhile. What was made goes, and the next try has the new geometry.
            drop(lists);
        }
    }

    /// Pages for a slab, with its list of free objects.
    fn make<'a>(&'a self, cache: &'a RawCache, geometry: &'a Geometry, here: Here, colour: usize) -> Option<Site<'a>> {
        let run = self.pages.alloc(geometry.pages, 1, Kind::Slab)?;
        let list = match geometry.placement {
            Placement::Object => 0,
            Placement::OnSlab => run.address.expose_provenance() + geometry.list_offset(),
            Placement::OffSlab => self.alloc(Class::of(geometry.list_bytes())).expose_provenance(),
        };
        if list == 0 && geometry.placement == Placement::OffSlab {
            // SAFETY: the run was just made, and nothing is in it.
            unsafe { self.pages.free(run.page) };
            return None;
        }
        run.address.expose_provenance();
        run.page.set_owner(core::ptr::from_ref(cache).cast_mut().cast());
        run.page.home.store(here.node as u8, Ordering::Relaxed);
        // SAFETY: the run was just made for this.
        let slab = unsafe { SlabRef::new(run.page, geometry) };
        slab.begin(colour, list);
        if cache.is_general() {
            self.pages.set_class(run.page, Class::from_index(cache.slot().index()));
        }
        Some(Site { slab: self, cache, made: slab, constructed: 0 })
    }

    /// Destroys the objects of a slab that is nobody's, and gives its pages back. Unwinds if a destructor does, after the pages are back.
    pub(crate) fn destroy_slab(&self, cache: &RawCache, page: &Page) {
        // SAFETY: the slab is on no list and entirely free: ours.
        let slab = unsafe { SlabRef::new(page, cache.geometry()) };
        count(&cache.nodes[page.home.load(Ordering::Relaxed) as usize].counters.reaped);
        drop(Site { slab: self, cache, made: slab, constructed: slab.geometry().objects });
    }

    /// Gives the pages of a slab without objects back, and its list; once nobody reads there any more, if the cache is type-safe.
    fn release_pages(&self, cache: &RawCache, slab: &SlabRef<'_>) {
        let geometry = slab.geometry();
        if geometry.placement == Placement::OffSlab {
            let list = core::ptr::with_exposed_provenance_mut(slab.list());
            // SAFETY: it was allocated with that class in `make`, and nobody reads it any more.
            unsafe { self.free(Class::of(geometry.list_bytes()), list) };
        }
        if cache.flags.has(Flags::TYPESAFE) {
            self.grace.retire(&self.pages, slab.page());
        } else {
            slab.page().set_owner(core::ptr::null_mut());
            // SAFETY: the first page of a slab without objects, which is the caller's.
            unsafe { self.pages.free(slab.page()) };
        }
    }
}

/// A slab on its way in or out. When dropped, the objects constructed are destroyed and the pages go back: also if a constructor or a
/// destructor unwinds.
struct Site<'a> {
    slab: &'a Slab,
    cache: &'a RawCache,
    made: SlabRef<'a>,
    constructed: u32,
}

impl<'a> Site<'a> {
    /// Constructs every object.
    fn construct(mut self) -> Built<'a> {
        let (cache, made) = (self.cache, self.made);
        let geometry = made.geometry();
        if geometry.debug != Flags::NONE {
            (0..geometry.objects).for_each(|index| self.slab.begin_checked(cache, geometry, made.object(index)));
        }
        if let Some(constructor) = cache.constructor {
            while self.constructed < geometry.objects {
                // SAFETY: memory of an object that holds none yet.
                unsafe { constructor(made.object(self.constructed), cache.context) };
                self.constructed += 1;
            }
        }
        Built(self)
    }
}

/// A slab whose objects are constructed.
struct Built<'a>(Site<'a>);

impl<'a> Built<'a> {
    /// The slab, which is about to be listed.
    fn done(self) -> SlabRef<'a> {
        let made = self.0.made;
        core::mem::forget(self.0);
        made
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        // Pages go back last, whatever the destructors do.
        let _pages = Pages { slab: self.slab, cache: self.cache, of: self.made };
        if let Some(destructor) = self.cache.destructor {
            // SAFETY: constructed objects that nobody holds.
            destroy_each(self.constructed, |index| unsafe { destructor(self.made.object(index), self.cache.context) });
        }
    }
}

struct Pages<'a> {
    slab: &'a Slab,
    cache: &'a RawCache,
    of: SlabRef<'a>,
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        self.slab.release_pages(self.cache, &self.of);
    }
}

/// Slabs on their way out: visitors of their cache, whose geometry stays as long. What is left of them when a destructor unwinds is listed
/// again.
pub(crate) struct Leaving<'a> {
    slab: &'a Slab,
    cache: &'a RawCache,
    pages: PageList,
    visit: Option<Visit<'a>>,
}

impl<'a> Leaving<'a> {
    pub(crate) fn new(slab: &'a Slab, cache: &'a RawCache) -> Self {
        Self { slab, cache, pages: PageList::new(), visit: None }
    }

    /// Takes entirely free slabs off `lists`, `most` at most, while there are more than `keep` free objects.
    pub(crate) fn take(&mut self, lists: &mut Lists, keep: usize, most: usize) {
        // The lists are locked: the slabs are theirs or visitors, at any moment that somebody else can see.
        if lists.release(self.cache.geometry(), keep, most, &mut self.pages) > 0 && self.visit.is_none() {
            self.visit = Some(self.cache.visit_anyway());
        }
    }

    /// Destroys them; returns how many there were. No lock may be held.
    pub(crate) fn destroy(mut self) -> usize {
        let mut count = 0;
        while let Some(page) = self.pages.pop() {
            self.slab.destroy_slab(self.cache, page);
            count += 1;
        }
        count
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        while let Some(page) = self.pages.pop() {
            let geometry = self.cache.geometry();
            // SAFETY: it starts a slab of this cache, which is on no list.
            let slab = unsafe { SlabRef::new(page, geometry) };
            self.cache.nodes[page.home.load(Ordering::Relaxed) as usize].lock().add(&slab, geometry);
        }
    }
}
