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
