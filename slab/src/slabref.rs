//! One slab: which of its objects are free. Theory 2.2.
//!
//! The list is an array of indices: those from `active` on are free, and the next one goes out first. Those from `fresh` on were never
//! written, and stand for themselves: object 7 at place 7. So a slab that is made touches no memory for its list.
//!
//! Everything here is under the lock of the slab's node, or the slab is the caller's alone. So nothing here is ordered.

use crate::cache::RawCache;
use crate::geometry::{Geometry, Placement, WORD};
use kmem_base::config::PAGE_SIZE;
use kmem_base::fault::{Fault, die};
use kmem_base::pages::Page;
use kmem_base::sync::Ordering::Relaxed;

/// Which list a slab is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub(crate) enum Shelf {
    /// None: somebody's own.
    None = 0,
    /// No object is free.
    Full = 1,
    /// Some are.
    Partial = 2,
    /// All are.
    Free = 3,
}

/// A set of objects of one slab: at most a page of words, as only larger objects have slabs of more than one.
pub(crate) struct Marks([u64; WORDS]);

const WORDS: usize = PAGE_SIZE / WORD / 64;

impl Marks {
    const fn none() -> Self {
        Self([0; WORDS])
    }

    /// Adds an object; false if it was there, or is none.
    pub(crate) fn mark(&mut self, index: u32) -> bool {
        let bit = 1 << (index % 64);
        let new = !self.has(index);
        self.0.get_mut(index as usize / 64).map(|word| *word |= bit).is_some() && new
    }

    pub(crate) fn has(&self, index: u32) -> bool {
        self.0.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }
}

/// A slab as its descriptor knows it. The list's address is in `bits[0]`, the first object's place in `bits[1]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlabRef<'a> {
    page: &'a Page,
    geometry: &'a Geometry,
}

impl<'a> SlabRef<'a> {
    /// # Safety
    /// `page` starts a slab of a cache with `geometry`, and stays so for as long as this is used.
    pub(crate) const unsafe fn new(page: &'a Page, geometry: &'a Geometry) -> Self {
        Self { page, geometry }
    }

    /// Begins a slab whose objects are all free: the first at `colour`, the list at `list`, or in the first object where it belongs there.
    pub(crate) fn begin(&self, colour: usize, list: usize) {
        self.page.bits[1].store((self.page.address() + colour) as u64, Relaxed);
        self.page.bits[0].store(list as u64, Relaxed);
        self.set(0, 0);
        self.shelve(Shelf::None);
        if self.geometry.placement == Placement::Object {
            // The list is short there, and the first object, which holds it, goes out last.
            self.page.bits[0].store(self.object(0).addr() as u64, Relaxed);
            let objects = self.geometry.objects;
            (0..objects).for_each(|place| self.write(place, (place + 1) % objects));
            self.set(0, objects);
        }
    }

    pub(crate) const fn geometry(&self) -> &'a Geometry {
        self.geometry
    }

    pub(crate) const fn page(&self) -> &'a Page {
        self.page
    }

    /// Objects that are out: in use, or in queues.
    pub(crate) fn active(&self) -> u32 {
        self.page.state.load(Relaxed) & 0xFFFF
    }

    fn fresh(&self) -> u32 {
        self.page.state.load(Relaxed) >> 16
    }

    fn set(&self, active: u32, fresh: u32) {
        self.page.state.store(fresh << 16 | active, Relaxed);
    }

    /// Where the slab's list is; 0 if it is in a free object and none is free.
    pub(crate) fn list(&self) -> usize {
        self.page.bits[0].load(Relaxed) as usize
    }

    fn first(&self) -> usize {
        self.page.bits[1].load(Relaxed) as usize
    }

    /// Bytes by which the first object is moved.
    pub(crate) fn colour(&self) -> usize {
        self.first() - self.page.address()
    }

    /// The list that the slab says it is on.
    pub(crate) fn shelf(&self) -> u16 {
        self.page.seen.load(Relaxed)
    }

    pub(crate) fn shelve(&self, shelf: Shelf) {
        self.page.seen.store(shelf as u16, Relaxed);
    }

    /// The list that it belongs on.
    pub(crate) fn belongs(&self) -> Shelf {
        match self.active() {
            0 => Shelf::Free,
            active if active == self.geometry.objects => Shelf::Full,
            _ => Shelf::Partial,
        }
    }

    /// Object `index`.
    pub(crate) fn object(&self, index: u32) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.first() + self.geometry.offset(index))
    }

    /// Number of the object at `address`, if one starts there.
    #[inline]
    pub(crate) fn index_of(&self, address: usize) -> Option<u32> {
        self.geometry.index(address.wrapping_sub(self.first()))
    }

    #[inline]
    fn read(&self, place: u32) -> u32 {
        let list = core::ptr::with_exposed_provenance::<u8>(self.list());
        // SAFETY: theory 4.3: the list has a place for every object, and places below `fresh` were written.
        unsafe {
            if self.geometry.index_bytes == 1 {
                u32::from(list.add(place as usize).read())
            } else {
                u32::from(list.cast::<u16>().add(place as usize).read())
            }
        }
    }

    #[inline]
    fn write(&self, place: u32, index: u32) {
        let list = core::ptr::with_exposed_provenance_mut::<u8>(self.list());
        // SAFETY: theory 4.3: the list has a place for every object, and is nobody else's memory.
        unsafe {
            if self.geometry.index_bytes == 1 {
                list.add(place as usize).write(index as u8);
            } else {
                list.cast::<u16>().add(place as usize).write(index as u16);
            }
        }
    }

    /// The object at `place` of the list.
    #[inline]
    fn at(&self, place: u32, fresh: u32) -> u32 {
        if place < fresh { self.read(place) } else { place }
    }

    /// Takes objects into `out`, as many as fit and there are; returns how many. Faults if the list was written over.
    #[inline]
    pub(crate) fn take(&self, out: &mut [*mut u8]) -> usize {
        let (active, fresh, objects) = (self.active(), self.fresh(), self.geometry.objects);
        let count = (out.len() as u32).min(objects - active);
        for (place, slot) in (active..active + count).zip(out) {
            let index = self.at(place, fresh);
            if index >= objects {
                self.fault(Fault::Corrupted, self.page.address());
            }
            *slot = self.object(index);
        }
        let active = active + count;
        self.set(active, fresh.max(active));
        if active == objects && self.geometry.placement == Placement::Object {
            // The object that held the list is out, the last.
            self.page.bits[0].store(0, Relaxed);
        }
        count as usize
    }

    /// Takes object `index` back. Faults if none was out.
    #[inline]
    pub(crate) fn put(&self, index: u32) {
        let (active, fresh) = (self.active(), self.fresh());
        if active == 0 {
            self.fault(Fault::DoubleFree, self.object(index).addr());
        }
        if self.list() == 0 {
            // The first to come back holds the list, and is its last entry.
            self.page.bits[0].store((self.first() + self.geometry.offset(index)) as u64, Relaxed);
        }
        self.set(active - 1, fresh);
        self.write(active - 1, index);
    }

    #[cold]
    fn fault(&self, fault: Fault, address: usize) -> ! {
        // SAFETY: theory 4.1: a slab's owner is its cache, and caches live in metadata, which is never freed.
        let cache = unsafe { self.page.owner().cast::<RawCache>().as_ref() };
        die(fault, address, cache.map_or("slab", RawCache::name));
    }

    /// Calls `each` with the number of every free object. Linear in their number.
    pub(crate) fn each_free(&self, mut each: impl FnMut(u32)) {
        let (active, fresh) = (self.active(), self.fresh());
        (active..self.geometry.objects).for_each(|place| each(self.at(place, fresh)));
    }

    /// True if object `index` is free. Linear in the number of free objects.
    pub(crate) fn is_free(&self, index: u32) -> bool {
        let mut found = false;
        self.each_free(|free| found |= free == index);
        found
    }

    /// The list names objects of the slab, each once, and lies where it belongs.
    pub(crate) fn check(&self) -> bool {
        let (active, fresh, geometry) = (self.active(), self.fresh(), self.geometry);
        if active > geometry.objects || fresh < active || fresh > geometry.objects {
            return false;
        }
        if active == geometry.objects && geometry.placement == Placement::Object {
            return self.list() == 0;
        }
        let (mut seen, mut sound) = (Marks::none(), true);
        self.each_free(|index| sound &= index < geometry.objects && seen.mark(index));
        sound && self.list_is_placed()
    }

    /// All free objects, for who asks about many.
    pub(crate) fn free_objects(&self) -> Marks {
        let mut marks = Marks::none();
        self.each_free(|index| _ = marks.mark(index));
        marks
    }

    fn list_is_placed(&self) -> bool {
        let (list, geometry) = (self.list(), self.geometry);
        match geometry.placement {
            Placement::OnSlab => list == self.page.address() + geometry.list_offset(),
            Placement::OffSlab => list != 0,
            Placement::Object => self.index_of(list).is_some_and(|holder| self.at(geometry.objects - 1, self.fresh()) == holder),
        }
    }
}
