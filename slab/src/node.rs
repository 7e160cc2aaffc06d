//! A cache's slabs on one node: three lists, and what the node's CPUs share. Theory 3.4.

use crate::geometry::Geometry;
use crate::shared::Alien;
use crate::slabref::{Shelf, SlabRef};
use crate::stats::{Counters, count};
use kmem_base::pages::{Page, PageList};
use kmem_base::percpu::Sheaf;
use kmem_base::sync::{Guard, Lock, Rank};

/// A node's lists, locked.
pub(crate) type Locked<'a> = Guard<'a, Lists, { Rank::Shard.of() }>;

/// The lists of one node.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) full: PageList,
    pub(crate) partial: PageList,
    pub(crate) free: PageList,
    /// Free objects in all of them.
    pub(crate) free_objects: usize,
    /// Free objects from which on an entirely free slab is one too many.
    pub(crate) free_limit: usize,
    /// Colour of the next slab.
    pub(crate) colour_next: u32,
    /// True if a free slab was taken from since the last look at the node.
    pub(crate) free_touched: bool,
    /// Objects that the node's CPUs share. A sheaf once there were any.
    pub(crate) shared: Option<Sheaf>,
    /// True if that was used since the last look.
    pub(crate) shared_touched: bool,
}

/// One node of one cache.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Node {
    lists: Lock<Lists, { Rank::Shard.of() }>,
    /// Objects of other nodes that were freed here, by their home.
    pub(crate) aliens: &'static [Alien],
    /// What the node's CPUs did in this cache.
    pub(crate) counters: Counters,
}

impl Node {
    pub(crate) fn new(aliens: &'static [Alien]) -> Self {
        Self { lists: Lock::new(Lists::new()), aliens, counters: Counters::new() }
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        count(&self.counters.locks);
        self.lists.lock()
    }

    /// Takes the lock without a guard.
    pub(crate) fn prepare_fork(&self) {
        self.lists.acquire();
    }

    /// True if it has no slabs.
    ///
    /// # Safety
    /// As [`Self::after_fork`].
    pub(crate) unsafe fn is_unused(&self) -> bool {
        // SAFETY: the caller's.
        unsafe { self.lists.held() }.slabs() == 0
    }

    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe { self.lists.release() };
    }
}

impl Lists {
    const fn new() -> Self {
        Self {
            full: PageList::new(),
            partial: PageList::new(),
            free: PageList::new(),
            free_objects: 0,
            free_limit: 0,
            colour_next: 0,
            free_touched: false,
            shared: None,
            shared_touched: false,
        }
    }

    /// Slabs on the lists.
    pub(crate) fn slabs(&self) -> usize {
        [&self.full, &self.partial, &self.free].into_iter().map(|list| list.len() as usize).sum()
    }

    /// Objects that are shared.
    pub(crate) fn shared_len(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.len() as usize)
    }

    /// The three lists, each with what its slabs say of themselves.
    pub(crate) fn shelves(&self) -> [(Shelf, &PageList); 3] {
        [(Shelf::Full, &self.full), (Shelf::Partial, &self.partial), (Shelf::Free, &self.free)]
    }

    fn list(&mut self, shelf: u16) -> Option<&mut PageList> {
        [None, Some(&mut self.full), Some(&mut self.partial), Some(&mut self.free)].into_iter().nth(shelf as usize).flatten()
    }

    /// Takes a slab off its list.
    fn unshelve(&mut self, slab: &SlabRef<'_>) {
        if let Some(list) = self.list(slab.shelf()) {
            // SAFETY: theory 4.1: a slab is on the list that it names, and the lists are locked.
            unsafe { list.remove(slab.page()) };
        }
        slab.shelve(Shelf::None);
    }

    /// Puts a slab that is on no list where it belongs: on the partial list in front if objects were taken, behind if they came back.
    pub(crate) fn shelve(&mut self, slab: &SlabRef<'_>, front: bool) {
        let shelf = slab.belongs();
        slab.shelve(shelf);
        if let Some(list) = self.list(shelf as u16) {
            // SAFETY: it is on no list, and descriptors are never unmapped.
            unsafe { if front || shelf != Shelf::Partial { list.push(slab.page()) } else { list.append(slab.page()) } };
        }
    }

    /// Takes up to `out.len()` objects, from partial slabs first.
    pub(crate) fn take(&mut self, geometry: &Geometry, out: &mut [*mut u8]) -> usize {
        let mut taken = 0;
        while taken < out.len() {
            let page = match self.partial.first() {
                Some(page) => page,
                None => {
                    let Some(page) = self.free.first() else { break };
                    self.free_touched = true;
                    page
                }
            };
            // SAFETY: a listed page starts a slab of the lists' cache.
            let slab = unsafe { SlabRef::new(page, geometry) };
            let more = slab.take(&mut out[taken..]);
            self.free_objects -= more;
            taken += more;
            if slab.shelf() != slab.belongs() as u16 {
                self.unshelve(&slab);
                self.shelve(&slab, true);
            }
        }
        taken
    }

    /// Notes that `count` objects have come back to a slab of these lists. It goes to the end of the partial list: objects freed long ago
    /// are more likely to be followed by their neighbours.
    pub(crate) fn returned(&mut self, slab: &SlabRef<'_>, count: usize) {
        self.free_objects += count;
        self.unshelve(slab);
        self.shelve(slab, false);
    }

    /// Adds a new slab, of which some objects may be out.
    pub(crate) fn add(&mut self, slab: &SlabRef<'_>, geometry: &Geometry) {
        self.free_objects += (geometry.objects - slab.active()) as usize;
        self.shelve(slab, true);
    }

    /// Takes entirely free slabs off, coldest first, while there are more than `keep` free objects, and puts them on `leaving`; `most` of
    /// them at most. Returns how many.
    pub(crate) fn release(&mut self, geometry: &Geometry, keep: usize, most: usize, leaving: &mut PageList) -> usize {
        let mut released = 0;
        while released < most && self.free_objects > keep {
            let Some(page) = self.free.last() else { break };
            // SAFETY: a listed page starts a slab of the lists' cache.
            self.unshelve(&unsafe { SlabRef::new(page, geometry) });
            self.free_objects -= geometry.objects as usize;
            // SAFETY: on no list now.
            unsafe { leaving.push(page) };
            released += 1;
        }
        released
    }

    /// Colour of a slab to be made, in bytes: the next of the cycle.
    pub(crate) fn next_colour(&mut self, geometry: &Geometry) -> usize {
        let colour = self.colour_next;
        self.colour_next = if colour + 1 < geometry.colours { colour + 1 } else { 0 };
        if geometry.colours == 0 { 0 } else { (colour.min(geometry.colours - 1) * geometry.colour_off) as usize }
    }

    /// The same, if a slab is to be made.
    pub(crate) fn next_colour_if(&mut self, geometry: &Geometry, wanted: bool) -> Option<usize> {
        wanted.then(|| self.next_colour(geometry))
    }

    /// First pages of all slabs on the lists.
    pub(crate) fn pages(&self) -> impl Iterator<Item = &'static Page> + '_ {
        self.full.pages().chain(self.partial.pages()).chain(self.free.pages())
    }
}
