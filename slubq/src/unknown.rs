//! Blocks of which only the address is known: C's `free`. The page says the rest. Theory 3.8.

use crate::cache::Cache;
use crate::slubq::Slubq;
use kmem_base::fault::{Fault, die};
use kmem_base::pages::{Kind, Page};
use kmem_base::percpu::Slot;

impl Slubq {
    /// Frees the object or large block at `block`, whatever it is; false if that takes [`Self::free_unknown_slow`].
    ///
    /// ```text
    /// free_unknown                class of the page: one load; then the same push as ever
    ///   free_unknown_slow         no class, or no room: by the page's descriptor
    /// ```
    ///
    /// # Safety
    /// `block` came from this allocator and is dead. (What did not is found out, and faults: at once, or when its queue is flushed.)
    #[doc(alias = "kfree")]
    #[inline(always)]
    pub unsafe fn free_unknown(&self, block: *mut u8) -> bool {
        match self.pages.class_near(block.addr()) {
            Some(class) => self.percpu.push(Slot::of(class), block),
            None => false,
        }
    }

    /// [`Self::free_unknown`] where rows are locked; false elsewhere.
    ///
    /// # Safety
    /// As [`Self::free_unknown`].
    #[inline]
    pub unsafe fn free_unknown_locked(&self, block: *mut u8) -> bool {
        self.pages.class_near(block.addr()).is_some_and(|class| self.percpu.push_locked(Slot::of(class), block))
    }

    /// The rest of it, where that was false.
    ///
    /// # Safety
    /// As [`Self::free_unknown`].
    #[cold]
    #[inline(never)]
    pub unsafe fn free_unknown_slow(&self, block: *mut u8) {
        if let Some(class) = self.pages.class_of(block.addr()) {
            // SAFETY: the caller's; the class is that of the page it lies in.
            return unsafe { self.free(class, block) };
        }
        if let Some(len) = self.pages.large_len(block) {
            // SAFETY: the caller's; the size is the block's own.
            unsafe { self.pages.free_large(block, len) };
            return self.tick();
        }
        match self.cache_of(block) {
            // SAFETY: the caller's; the cache is that of the slab it lies in.
            Some(cache) => unsafe { self.free_object(cache, block) },
            None => self.no_block(block),
        }
    }

    /// Usable bytes of the object or large block at `block`; `None` if there is none.
    #[doc(alias = "ksize")]
    #[doc(alias = "malloc_usable_size")]
    #[inline]
    #[must_use]
    pub fn usable_size(&self, block: *mut u8) -> Option<usize> {
        match self.pages.class_of(block.addr()) {
            Some(class) => Some(class.size()),
            None => self.pages.large_len(block).or_else(|| Some(self.cache_of(block)?.geometry.size as usize)),
        }
    }

    /// The cache that the object at `block` belongs to.
    fn cache_of(&self, block: *mut u8) -> Option<&'static Cache> {
        let page = self.pages.head_of(block.addr()).filter(|page| page.kind() == Kind::Slab)?;
        // SAFETY: a slab's owner is its cache, and caches live in metadata, which is never freed.
        unsafe { page.owner().cast::<Cache>().as_ref() }
    }

    /// Says what is wrong with `block`, which is neither an object nor a large block.
    fn no_block(&self, block: *mut u8) -> ! {
        let address = block.addr();
        let fault = match self.pages.head_of(address).map(Page::kind) {
            Some(Kind::Large) => Fault::Misaligned,
            Some(Kind::Free) if self.pages.is_used(address) => Fault::Misaligned,
            Some(Kind::Free | Kind::Idle | Kind::Slab) => Fault::DoubleFree,
            Some(Kind::Tail | Kind::Meta) | None => Fault::Foreign,
        };
        die(fault, address, "free")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;
    use crate::cache::{Flags, Spec};
    use crate::reap::Level;
    use kmem_base::classes::Class;
    use kmem_base::config::PAGE_SIZE;
    use kmem_base::knobs::{Knob, Settings};
    use kmem_base::percpu::on_cpu;
    use std::boxed::Box;
    use std::vec::Vec;

    /// Objects of a general cache, of a program's cache, and large blocks, all by their addresses alone.
    #[test]
    fn a_block_is_known_by_its_address() {
        on_cpu(Some(0));
        let slubq: &'static Slubq = Box::leak(Box::new(Slubq::system()));
        assert!(slubq.start(&Settings::new().with(Knob::PerCpu, 1).with(Knob::Cpus, 1).with(Knob::DecayMs, 0)));
        let own = slubq.create(&Spec::new("own", 1000, 8).with(Flags::NO_MERGE)).unwrap();
        let class = Class::of(96);
        let before = slubq.pages.used();
        let mut blocks = Vec::new();
        for _ in 0..1000 {
            blocks.push((slubq.alloc(class), 96));
            blocks.push((slubq.alloc_object(own), own.geometry.size as usize));
        }
        blocks.push((slubq.pages.alloc_large(2 * PAGE_SIZE - 5, 8, false), 2 * PAGE_SIZE));
        blocks.push((slubq.pages.alloc_large(40 << 20, 8, false), 40 << 20));
        let general = slubq.general(class).unwrap();
        assert_eq!((slubq.live_objects(general), slubq.live_objects(own)), (1000, 1000));
        for (block, size) in blocks {
            assert_eq!(slubq.usable_size(block), Some(size));
            // SAFETY: allocated above, freed once.
            unsafe {
                if !slubq.free_unknown(block) {
                    slubq.free_unknown_slow(block);
                }
            }
        }
        assert_eq!((slubq.live_objects(general), slubq.live_objects(own)), (0, 0));
        slubq.trim(Level::Queues);
        assert!(slubq.pages.used() <= before + 1, "metadata may have grown");
        assert_eq!(slubq.usable_size(core::ptr::without_provenance_mut(64)), None);
        slubq.check().unwrap();
    }
}
