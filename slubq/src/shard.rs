//! Partial slabs, sharded by home CPU. Theory 3.4.
//!
//! A slab belongs to the shard of the CPU that made it, so that its lock stays in one CPU's cache. Only partial slabs are listed: a
//! full one is found again by the first object that comes back to it.

use crate::geometry::Geometry;
use crate::slab::Slab;
use crate::stats::Counters;
use kmem_base::pages::{Page, PageList};
use kmem_base::sync::{AtomicU32, Guard, Lock, Ordering, Rank};

/// A shard's list, locked.
pub(crate) type Partial<'a> = Guard<'a, PageList, { Rank::Shard.of() }>;

/// One shard of one cache.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    partial: Lock<PageList, { Rank::Shard.of() }>,
    /// Slabs whose home this is, full ones included.
    pub(crate) slabs: AtomicU32,
    /// Not zero once a CPU of the shard has refilled since the last decay pass: SLAB's `touched`.
    pub(crate) touched: AtomicU32,
    /// What the shard's CPUs did in this cache. On cache lines of their own, or each slow path would take them from the other CPUs.
    pub(crate) counters: Counters,
}

impl Shard {
    /// An empty shard.
    pub(crate) fn new() -> Self {
        Self {
            partial: Lock::new(PageList::new()),
            slabs: AtomicU32::new(0),
            touched: AtomicU32::new(0),
            counters: Counters::new(),
        }
    }

    pub(crate) fn lock(&self) -> Partial<'_> {
        self.partial.lock()
    }

    pub(crate) fn try_lock(&self) -> Option<Partial<'_>> {
        self.partial.try_lock()
    }

    pub(crate) fn prepare_fork(&self) {
        self.partial.acquire();
    }

    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe { self.partial.release() };
    }
}

/// Locks the home shard of `page` among `shards`: its number may change until the lock is held.
pub(crate) fn lock_home<'a>(shards: &'a [Shard], page: &Page) -> Partial<'a> {
    loop {
        let home = page.home.load(Ordering::Acquire) as usize;
        if let Some(shard) = shards.get(home) {
            let partial = shard.lock();
            if page.home.load(Ordering::Acquire) as usize == home {
                return partial;
            }
        }
    }
}

/// Lists a slab that is on no list and has free objects; returns its home shard's list, locked.
pub(crate) fn list<'a>(shards: &'a [Shard], slab: &Slab<'_>) -> Partial<'a> {
    list_by(shards, slab, PageList::push)
}

/// The same at the end of the list: for a slab that should be the last to be taken from.
pub(crate) fn list_last<'a>(shards: &'a [Shard], slab: &Slab<'_>) -> Partial<'a> {
    list_by(shards, slab, PageList::append)
}

#[inline]
fn list_by<'a>(shards: &'a [Shard], slab: &Slab<'_>, add: unsafe fn(&mut PageList, &Page)) -> Partial<'a> {
    let mut partial = lock_home(shards, slab.page());
    slab.mark_listed();
    // SAFETY: on no list, and its descriptor is never unmapped.
    unsafe { add(&mut partial, slab.page()) };
    partial
}

/// Takes the mark of a slab away that this thread has marked; returns its home shard's list, locked.
pub(crate) fn unmark<'a>(shards: &'a [Shard], slab: &Slab<'_>) -> Partial<'a> {
    let partial = lock_home(shards, slab.page());
    slab.unmark();
    partial
}

/// Takes `slab` off its locked list if it is entirely free; then it is the caller's.
pub(crate) fn unlist_if_empty(partial: &mut PageList, slab: &Slab<'_>) -> bool {
    if !slab.is_empty() {
        return false;
    }
    unlist(partial, slab);
    true
}

/// Takes a listed slab off its locked list.
pub(crate) fn unlist(partial: &mut PageList, slab: &Slab<'_>) {
    slab.mark_unlisted();
    // SAFETY: the slab is listed, and the list with its home's lock is this one.
    unsafe { partial.remove(slab.page()) };
}

/// Takes the first slab of a locked list off it and makes `home` its home, if `wanted` says so; then it is the caller's.
///
/// Objects that a put has not counted yet do not count here either. With none that is, the put that counts next would list the slab, while
/// the caller takes from it (I3). Nobody takes meanwhile, so that a count above 0 stays so.
#[inline]
pub(crate) fn take_over<'a>(partial: &mut PageList, geometry: &'a Geometry, home: usize, least: u32) -> Option<Slab<'a>> {
    let page = partial.first()?;
    // SAFETY: a listed page starts a slab of the list's cache.
    let slab = unsafe { Slab::new(page, geometry) };
    if slab.state().free() < least as i32 {
        return None;
    }
    unlist(partial, &slab);
    page.home.store(home as u8, Ordering::Release);
    Some(slab)
}

/// Takes objects from the partial slabs of a locked list into `out`, first slab first; slabs that become full leave the list.
pub(crate) fn take_from(partial: &mut PageList, geometry: &Geometry, out: &mut [*mut u8]) -> usize {
    let (mut taken, mut next) = (0, partial.first());
    while let Some(page) = next {
        // SAFETY: a listed page starts a slab of the list's cache, and stays so while the list is locked.
        let slab = unsafe { Slab::new(page, geometry) };
        // SAFETY: it is on this list.
        next = unsafe { partial.after(page) };
        taken += slab.take(&mut out[taken..]).0;
        if slab.unlist_if_full() {
            // SAFETY: as above.
            unsafe { partial.remove(page) };
        } else if taken > 0 {
            // Enough, or stopped short of a cache line: a few objects of the next slab are not worth touching it.
            break;
        }
    }
    taken
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;
    use crate::put::Put;
    use crate::slab::Duty;
    use core::ptr::null_mut;
    use kmem_base::pages::Kind;

    /// A put keeps slabs open for as long as a sheaf takes. What it has not counted can be taken already, so that the count is below 0 and
    /// objects are free all the same. Who took the slab over then would not be alone: the put lists it when it counts.
    #[test]
    fn a_slab_is_not_taken_over_before_the_objects_free_in_it_are_counted() {
        let (page, geometry) = (Page::new(), Geometry::new(1024));
        page.begin(Kind::Slab, 1 << 30, geometry.pages);
        // SAFETY: the slab's memory is not touched: its bits are in the descriptor.
        let slab = unsafe { Slab::new(&page, &geometry) };
        let shards = [Shard::new(), Shard::new()];
        slab.fill();
        let mut objects = [null_mut(); 63];
        assert_eq!(slab.take(&mut objects).0, 63);
        drop(list(&shards, &slab));
        let mut put = Put::into(slab);
        assert_eq!(put.add(&objects[..2]), Ok(2));
        let mut out = [null_mut(); 2];
        assert_eq!(take_from(&mut shards[0].lock(), &geometry, &mut out), 2);
        assert_eq!((slab.state().free(), slab.state().is_listed(), slab.bits_set()), (-1, true, 1));

        assert!(take_over(&mut shards[0].lock(), &geometry, 1, 1).is_none());
        assert_eq!(put.finish(), Duty::None);
        assert!(slab.check() && slab.state().is_listed());
        let mine = take_over(&mut shards[0].lock(), &geometry, 1, 1).expect("one is free, and counted");
        assert!(!mine.state().is_listed());
        assert_eq!(mine.put(&objects[2..4]), Ok(Duty::None), "the one who took it over lists it");
    }
}
