//! A full walk of the invariants of theory 4.

use crate::cache::RawCache;
use crate::node::Lists;
use crate::slab::Slab;
use crate::slabref::{Shelf, SlabRef};
use kmem_base::pages::{Kind, Page};
use kmem_base::percpu::EachSheaf;
use kmem_base::sync::Ordering;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// The page supply's own.
    Pages,
    /// Links or length of a list.
    List,
    /// A page on a list does not belong there, or says that it is on another.
    Shelf,
    /// A slab's list of free objects is no set of its objects, or not where it should be.
    Freelist,
    /// Counts of free objects, slabs or queued objects disagree.
    Conservation,
    /// What stands before the slabs is not of the cache, or is in two places at once.
    Queued,
}

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Pages => "page supply: free runs, descriptors or huge blocks disagree",
            Self::List => "slab list: links or length are wrong",
            Self::Shelf => "slab list: a page on it does not belong there",
            Self::Freelist => "slab: the list of free objects is damaged",
            Self::Conservation => "objects: more queued or free than there are, or counted wrongly",
            Self::Queued => "objects: queued in two places at once, or where they do not belong",
        })
    }
}

impl core::error::Error for Broken {}

impl Slab {
    /// Walks everything. Exact when nothing runs.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn check(&self) -> Result<(), Broken> {
        if !self.pages.check() || !self.grace.check() {
            return Err(Broken::Pages);
        }
        self.caches().try_for_each(|cache| self.check_cache(cache))
    }

    /// Walks one cache.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn check_cache(&self, cache: &RawCache) -> Result<(), Broken> {
        for (home, node) in cache.nodes.iter().enumerate() {
            check_lists(cache, home, &node.lock())?;
        }
        let info = self.cache_info(cache);
        let out = info.free + info.queued + info.shared + info.alien;
        if out > info.objects || !self.percpu.check(cache.slot()) {
            return Err(Broken::Conservation);
        }
        let mut sound = true;
        self.percpu.look(cache.slot(), || self.is_in_place(cache), |sheaves| sound &= self.each_is_once(cache, sheaves));
        if sound { Ok(()) } else { Err(Broken::Queued) }
    }

    /// True if each object before the slabs is one of the cache's, not free in its slab, and in one place. Where no drain runs.
    fn each_is_once(&self, cache: &RawCache, sheaves: &EachSheaf<'_>) -> bool {
        let (mut sound, shape) = (true, cache.tuning().shape());
        sheaves(&mut |objects| sound &= objects.iter().all(|object| self.pages.slab_of(as_owner(cache), object.addr()).is_ok()));
        for (home, node) in cache.nodes.iter().enumerate() {
            let lists = node.lock();
            for page in lists.pages() {
                // SAFETY: a slab of this cache, whose lists are locked.
                let slab = unsafe { SlabRef::new(page, cache.geometry()) };
                let (mut seen, range) = (slab.free_objects(), page.address()..page.address() + cache.geometry().bytes());
                let mut once = |objects: &[*mut u8]| {
                    let inside = objects.iter().map(|object| object.addr()).filter(|object| range.contains(object));
                    inside.for_each(|object| sound &= slab.index_of(object).is_some_and(|index| seen.mark(index)));
                };
                sheaves(&mut once);
                lists.shared.iter().for_each(|shared| once(shared.objects()));
                cache.nodes.iter().filter_map(|node| node.aliens.get(home)).for_each(|alien| alien.each(&mut once));
                cache.depots.iter().for_each(|depot| depot.each(shape, &mut once));
            }
        }
        sound
    }
}

const fn as_owner(cache: &RawCache) -> *const () {
    core::ptr::from_ref(cache).cast()
}

fn check_lists(cache: &RawCache, home: usize, lists: &Lists) -> Result<(), Broken> {
    let mut free = 0;
    for (shelf, list) in lists.shelves() {
        if !list.check() {
            return Err(Broken::List);
        }
        for page in list.pages() {
            free += check_listed(cache, home, page, shelf)?;
        }
    }
    if free == lists.free_objects { Ok(()) } else { Err(Broken::Conservation) }
}

/// Free objects of a listed slab.
fn check_listed(cache: &RawCache, home: usize, page: &Page, shelf: Shelf) -> Result<usize, Broken> {
    let ours = page.kind() == Kind::Slab && core::ptr::eq(page.owner().cast(), cache);
    if !ours || page.home.load(Ordering::Relaxed) as usize != home {
        return Err(Broken::Shelf);
    }
    let geometry = cache.geometry();
    // SAFETY: a slab of this cache, as just verified; its lists are locked.
    let slab = unsafe { SlabRef::new(page, geometry) };
    if slab.shelf() != shelf as u16 || slab.belongs() != shelf {
        return Err(Broken::Shelf);
    }
    let colour = slab.colour();
    let placed = colour <= geometry.left_over as usize && colour.is_multiple_of(geometry.colour_off as usize);
    if !placed || !slab.check() {
        return Err(Broken::Freelist);
    }
    Ok((geometry.objects - slab.active()) as usize)
}
