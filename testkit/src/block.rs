//! A live block as the drivers hold it.

use crate::pattern;
use crate::violation::{Extent, Violation};
use std::alloc::Layout;

/// A live block: where it is, the layout it was asked with, and the seed of
/// the pattern that fills it.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// First byte, as the allocator returned it.
    pub ptr: *mut u8,
    /// The layout it has to be freed with.
    pub layout: Layout,
    /// Seed of its contents.
    pub seed: u64,
}

// SAFETY: the block is plain memory owned by whoever holds this value; nothing
// in it is tied to the thread that allocated it.
unsafe impl Send for Block {}

impl Block {
    /// Address, size and alignment, for messages.
    pub fn extent(&self) -> Extent {
        Extent::new(self.ptr, self.layout)
    }

    /// Fills the block with its pattern.
    ///
    /// # Safety
    /// The block must be live and owned by the caller.
    pub(crate) unsafe fn fill(&self) {
        // SAFETY: the caller owns `layout.size()` bytes at `ptr`.
        unsafe { pattern::fill(self.ptr, self.layout.size(), self.seed) }
    }

    /// Verifies that the block holds its pattern.
    ///
    /// # Safety
    /// The block must be live, owned by the caller, and have been filled.
    pub(crate) unsafe fn verify(&self) -> Result<(), Violation> {
        let size = self.layout.size();
        // SAFETY: the caller owns the block and has filled it.
        unsafe { pattern::verify(self.ptr, size, size, self.seed) }
            .map_err(|mismatch| Violation::Corrupt { block: self.extent(), mismatch })
    }
}
