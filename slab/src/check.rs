//! A full walk of the invariants of theory 4.

use crate::cache::RawCache;
use crate::node::Lists;
use crate::slab::Slab;
use crate::slabref::{Shelf, SlabRef};
use kmem_base::pages::{Kind, Page};
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
}

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Pages => "page supply: free runs, descriptors or huge blocks disagree",
            Self::List => "slab list: links or length are wrong",
            Self::Shelf => "slab list: a page on it does not belong there",
            Self::Freelist => "slab: the list of free objects is damaged",
            Self::Conservation => "objects: more queued or free than there are, or counted wrongly",
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
        Ok(())
    }
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
