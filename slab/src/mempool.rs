//! Objects set aside for when there is no memory: the kernel's mempool. Theory 6.5.

use crate::cache::RawCache;
use crate::config::MOST_QUEUED;
use crate::slab::Slab;
use core::ptr::{NonNull, null_mut};
use kmem_base::percpu::{Shape, Sheaf};
use kmem_base::sync::{Lock, Rank, relax};

/// A reserve of objects of one cache, which is refilled before anything goes back to the cache: with `count` objects in it, `count` users
/// can always go on.
#[derive(Debug)]
#[doc(alias = "mempool_t")]
pub struct Mempool {
    slab: &'static Slab,
    cache: &'static RawCache,
    /// There until the pool is dropped. As many objects as it has room for, or fewer while they are lent.
    reserve: Lock<Option<Sheaf>, { Rank::Depot.of() }>,
}

/// An object of a pool, to be given back to it.
#[derive(Debug)]
#[must_use]
pub struct Element<'a> {
    pool: &'a Mempool,
    object: NonNull<u8>,
}

// SAFETY: an element is memory; the pool is locked.
unsafe impl Send for Element<'_> {}

impl Mempool {
    /// A pool with `count` objects of `cache` set aside: 1 to 8191. `None` if there is no memory for all of them, or the cache is none of
    /// `slab`'s.
    #[doc(alias = "mempool_create_slab_pool")]
    #[must_use]
    pub fn new(slab: &'static Slab, cache: &'static RawCache, count: u32) -> Option<Self> {
        if !(1..=MOST_QUEUED).contains(&count) || !slab.is_in_place(cache) {
            return None;
        }
        let reserve = slab.empty_sheaf(Shape::holding(count))?;
        let pool = Self { slab, cache, reserve: Lock::new(Some(reserve)) };
        pool.fill(count).then_some(pool)
    }

    fn fill(&self, count: u32) -> bool {
        (0..count).all(|_| {
            let object = self.slab.alloc_object(self.cache);
            !object.is_null() && self.reserve.lock().as_mut().is_some_and(|reserve| reserve.push(object))
        })
    }

    /// Objects set aside at the moment.
    #[must_use]
    pub fn available(&self) -> usize {
        self.reserve.lock().as_ref().map_or(0, |reserve| reserve.len() as usize)
    }

    /// An object of the cache, or, where there is no memory, of the reserve. `None` if that is empty, too.
    #[doc(alias = "mempool_alloc")]
    pub fn alloc(&self) -> Option<Element<'_>> {
        let mut object = self.slab.alloc_object(self.cache);
        if object.is_null() {
            object = self.reserve.lock().as_mut().and_then(Sheaf::pop).unwrap_or(null_mut());
        }
        NonNull::new(object).map(|object| Element { pool: self, object })
    }

    /// The same, but waits until another user gives an object back. Not for who holds all that there are.
    pub fn alloc_wait(&self) -> Element<'_> {
        let mut round = 0;
        loop {
            if let Some(element) = self.alloc() {
                return element;
            }
            relax(&mut round);
        }
    }

    fn free(&self, object: *mut u8) {
        let kept = self.reserve.lock().as_mut().is_some_and(|reserve| reserve.push(object));
        if !kept {
            // SAFETY: it came from this cache, and its element is being dropped.
            unsafe { self.slab.free_object(self.cache, object) };
        }
    }
}

impl Drop for Mempool {
    #[doc(alias = "mempool_destroy")]
    fn drop(&mut self) {
        // Nothing borrows the pool: what it has is all that is left of it.
        let given_up = GivenUp { slab: self.slab, reserve: self.reserve.lock().take() };
        let objects = given_up.reserve.as_ref().map_or(&[][..], Sheaf::objects);
        // SAFETY: objects of the cache that nobody uses.
        unsafe { self.slab.free_bulk(self.cache, objects) };
    }
}

/// A reserve whose objects are on their way back. Its block goes back also if a destructor unwinds.
struct GivenUp {
    slab: &'static Slab,
    reserve: Option<Sheaf>,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(reserve) = self.reserve.take() {
            self.slab.put_back_empty(reserve);
        }
    }
}

impl Element<'_> {
    /// The object: as many bytes as the cache's objects have, this element's alone.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.object.as_ptr()
    }
}

impl Drop for Element<'_> {
    #[doc(alias = "mempool_free")]
    fn drop(&mut self) {
        self.pool.free(self.object.as_ptr());
    }
}
