//! What the executor asks of an oracle, shared by both of them.

use crate::block::Block;
use crate::pattern;
use crate::violation::{Extent, Violation};
use std::alloc::Layout;

/// Records blocks and judges the answers of a subject.
///
/// Freeing and reallocating are announced *before* the subject is called: from
/// then on another thread may rightly be given the same addresses.
pub(crate) trait Oracle {
    /// A block was returned: check it, record it and fill it.
    ///
    /// # Safety
    /// If not null, `ptr` must be a block that the subject returned for `layout`.
    unsafe fn allocated(&mut self, ptr: *mut u8, layout: Layout, zeroed: bool) -> Result<Block, Violation>;

    /// A block is about to be freed: verify and forget it.
    ///
    /// # Safety
    /// The block must be live and owned by the caller.
    unsafe fn freeing(&mut self, block: &Block) -> Result<(), Violation>;

    /// A block is about to be reallocated: verify it.
    ///
    /// # Safety
    /// The block must be live and owned by the caller.
    unsafe fn reallocating(&mut self, block: &Block) -> Result<(), Violation>;

    /// An announced reallocation returned a block of `size` bytes.
    ///
    /// # Safety
    /// `ptr` must be what the subject returned, and not null.
    unsafe fn reallocated(&mut self, old: &Block, ptr: *mut u8, size: usize) -> Result<Block, Violation>;

    /// An announced reallocation returned null: the block must be as before.
    ///
    /// # Safety
    /// The block must be live and owned by the caller.
    unsafe fn realloc_failed(&mut self, block: &Block) -> Result<(), Violation>;
}

/// The checks that need no knowledge of other blocks.
pub(crate) fn vet(ptr: *const u8, layout: Layout) -> Result<(), Violation> {
    let block = Extent::new(ptr, layout);
    if ptr.is_null() {
        Err(Violation::Null { layout })
    } else if block.size == 0 {
        Err(Violation::ZeroSized { block })
    } else if !block.addr.is_multiple_of(block.align) {
        Err(Violation::Misaligned { block })
    } else if block.addr.checked_add(block.size).is_none() {
        Err(Violation::Wraps { block })
    } else {
        Ok(())
    }
}

/// Checks a block that was asked as zeroed.
///
/// # Safety
/// The block must be live and owned by the caller.
pub(crate) unsafe fn vet_zero(block: &Block) -> Result<(), Violation> {
    // SAFETY: the caller owns the block, and a zeroed block is initialised.
    unsafe { pattern::verify_zero(block.ptr, block.layout.size()) }
        .map_err(|mismatch| Violation::NotZeroed { block: block.extent(), mismatch })
}

/// Checks that `new` begins with the contents of `old`.
///
/// # Safety
/// `new` must be live, owned by the caller, and reallocated from `old`, which
/// had been filled.
pub(crate) unsafe fn vet_prefix(old: &Block, new: &Block) -> Result<(), Violation> {
    let size = old.layout.size();
    let upto = size.min(new.layout.size());
    // SAFETY: the first `upto` bytes of `new` are a copy of those of `old`.
    unsafe { pattern::verify(new.ptr, size, upto, old.seed) }.map_err(|mismatch| Violation::LostPrefix {
        old: old.extent(),
        new: new.extent(),
        mismatch,
    })
}

/// The layout of a block of `old` after its reallocation to `size` bytes.
pub(crate) fn resized(old: Layout, size: usize) -> Layout {
    Layout::from_size_align(size, old.align()).expect("a size that its driver has bounded")
}
