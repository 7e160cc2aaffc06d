//! Reservations: objects set aside, so that nothing can fail between reserving and using them. Linux 7.0's prefilled sheaves.

use crate::alloc::Context;
use crate::cache::{Cache, shape_of};
use crate::slubq::Slubq;
use kmem_base::fault::{Fault, die};
use kmem_base::percpu::{Shape, Sheaf};

/// Objects set aside. Those not used go back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Reservation<'a> {
    slubq: &'a Slubq,
    cache: &'a Cache,
    /// Always there until dropped.
    sheaf: Option<Sheaf>,
}

impl Slubq {
    /// Sets `count` objects of `cache` aside, 5000 at most. `None` if there is no memory for all of them.
    #[doc(alias = "kmem_cache_prefill_sheaf")]
    pub fn reserve<'a>(&'a self, cache: &'a Cache, count: u32) -> Option<Reservation<'a>> {
        if !(1..=5000).contains(&count) || !self.ready() {
            return None;
        }
        self.must_live(cache, count as usize);
        let shape: Shape = shape_of(count * 2);
        let sheaf = self.blocks.get(&self.percpu, &self.meta, &self.pages, shape)?;
        let mut reservation = Reservation { slubq: self, cache, sheaf: Some(sheaf) };
        reservation.fill(count).then_some(reservation)
    }
}

impl Reservation<'_> {
    fn fill(&mut self, count: u32) -> bool {
        let (slubq, cache) = (self.slubq, self.cache);
        let Some(sheaf) = &mut self.sheaf else {
            return false;
        };
        while sheaf.len() < count {
            let object = slubq.percpu.pop(cache.slot());
            if !object.is_null() {
                let _fits = sheaf.push(object);
                continue;
            }
            let more = count - sheaf.len();
            if sheaf.fill(more, |out| slubq.grab(cache, slubq.place(), out, Context::Blocking)) == 0 {
                return false;
            }
        }
        true
    }

    /// Takes one of the objects. Cannot fail as often as was reserved; more than that is a fault.
    #[doc(alias = "kmem_cache_alloc_from_sheaf")]
    #[must_use]
    pub fn alloc(&mut self) -> *mut u8 {
        match self.sheaf.as_mut().and_then(Sheaf::pop) {
            Some(object) => object,
            None => die(Fault::Overdrawn, core::ptr::from_ref(self).addr(), self.cache.name()),
        }
    }

    /// Objects left.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.sheaf.as_ref().map_or(0, Sheaf::len)
    }

    /// True if none are left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Reservation<'_> {
    #[doc(alias = "kmem_cache_return_sheaf")]
    fn drop(&mut self) {
        if let Some(sheaf) = self.sheaf.take() {
            self.slubq.dissolve(self.cache, sheaf);
        }
    }
}
