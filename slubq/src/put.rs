//! A put under way: objects that go back into one slab. Theory 3.5.

use crate::slab::{Duty, Slab};
use kmem_base::fault::Fault;

/// Objects that go back into one slab and are counted once, at the end. Until then the slab stays one: they are in use, as far as it
/// knows.
#[derive(Clone, Copy)]
pub(crate) struct Put<'a> {
    slab: Slab<'a>,
    /// Its first byte.
    start: usize,
    count: u32,
}

impl<'a> Put<'a> {
    pub(crate) fn into(slab: Slab<'a>) -> Self {
        Self { slab, start: slab.page().address(), count: 0 }
    }

    pub(crate) fn slab(&self) -> &Slab<'a> {
        &self.slab
    }

    /// True if `object` is one of this slab's.
    #[inline]
    pub(crate) fn holds(&self, object: *mut u8) -> bool {
        object.addr().wrapping_sub(self.start) < self.slab.geometry().bytes()
    }

    /// Adds the first of `objects`, which is of this slab, and those behind it that share a word of its bits, in one operation. Returns how
    /// many.
    ///
    /// # Errors
    /// The first object that is none, or free already; the slab is then in no state to go on with.
    #[inline]
    pub(crate) fn add(&mut self, objects: &[*mut u8]) -> Result<usize, (Fault, *mut u8)> {
        let (geometry, start) = (self.slab.geometry(), self.start);
        let number = |object: *mut u8| geometry.index(object.addr().wrapping_sub(start));
        let first = number(objects[0]).ok_or((Fault::Misaligned, objects[0]))?;
        let (index, mut mask, mut run) = (first / 64, 1_u64 << (first % 64), 1);
        let (word, bytes) = (start + geometry.offset(index * 64), geometry.size as usize * 64);
        while let Some(next) = objects.get(run).filter(|next| next.addr().wrapping_sub(word) < bytes) {
            let bit = number(*next).map_or(0, |next| 1_u64 << (next % 64));
            if bit & !mask == 0 {
                // No object, or for the second time: the next call says so.
                break;
            }
            mask |= bit;
            run += 1;
        }
        let twice = self.slab.set(index as usize, mask);
        if twice != 0 {
            return Err((Fault::DoubleFree, self.slab.object(index * 64 + twice.trailing_zeros())));
        }
        self.count += run as u32;
        Ok(run)
    }

    /// The end of it, and the last touch of the slab, which may be gone as soon as this returns [`Duty::None`].
    pub(crate) fn finish(&self) -> Duty {
        self.slab.count(self.count)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;
    use crate::geometry::Geometry;
    use kmem_base::config::PAGE_SIZE;
    use kmem_base::pages::{Kind, Page};
    use kmem_testkit::SplitMix64;
    use std::vec::Vec;

    /// Memory of a slab whose objects nobody touches.
    struct Ground {
        page: Page,
        geometry: Geometry,
        _memory: Vec<u64>,
    }

    impl Ground {
        fn new(size: usize) -> Self {
            let (page, geometry) = (Page::new(), Geometry::new(size));
            let mut memory = std::vec![0_u64; (geometry.bytes() + PAGE_SIZE) / 8];
            page.begin(Kind::Slab, memory.as_mut_ptr().expose_provenance().next_multiple_of(PAGE_SIZE), geometry.pages);
            Self { page, geometry, _memory: memory }
        }

        /// The slab with no free object.
        fn slab(&self) -> Slab<'_> {
            // SAFETY: the slab lies in the vector.
            let slab = unsafe { Slab::new(&self.page, &self.geometry) };
            slab.fill();
            slab.take(&mut std::vec![core::ptr::null_mut(); self.geometry.objects as usize]);
            slab
        }
    }

    const SIZES: [usize; 6] = [8, 96, 200, 344, 1024, 40_000];

    /// One operation for all that share a word, in any order, as far as nothing comes between them.
    #[test]
    fn a_run_is_as_long_as_the_objects_share_a_word() {
        for size in SIZES {
            let (ground, mut random) = (Ground::new(size), SplitMix64::new(size as u64));
            let slab = ground.slab();
            let mut numbers: Vec<u32> = (0..ground.geometry.objects).collect();
            // In stretches of a few words each, shuffled.
            numbers.chunks_mut(100).for_each(|part| (1..part.len()).for_each(|at| part.swap(at, random.below(at + 1))));
            let objects: Vec<_> = numbers.iter().map(|number| slab.object(*number)).collect();
            let (mut put, mut at) = (Put::into(slab), 0);
            while at < objects.len() {
                let run = numbers[at..].iter().take_while(|number| **number / 64 == numbers[at] / 64).count();
                assert_eq!(put.add(&objects[at..]), Ok(run), "{size}, from {at}");
                at += run;
                assert_eq!((put.count as usize, slab.bits_set() as usize, slab.state().free()), (at, at, 0), "counted at the end");
            }
            put.finish();
            assert!(slab.check());
        }
    }

    #[test]
    fn a_slab_holds_what_lies_between_its_first_byte_and_its_last() {
        for size in SIZES {
            let ground = Ground::new(size);
            let (put, start, bytes) = (Put::into(ground.slab()), ground.page.address(), ground.geometry.bytes());
            let at = |address: usize| put.holds(core::ptr::without_provenance_mut(address));
            assert!(at(start) && at(start + bytes - 1) && !at(start + bytes) && !at(start - 1) && !at(0) && !at(usize::MAX));
        }
    }
}
