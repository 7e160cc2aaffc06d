//! The oracle for one thread.

use crate::block::Block;
use crate::oracle::{Oracle, resized, vet, vet_prefix, vet_zero};
use crate::rng::SplitMix64;
use crate::violation::{Extent, Violation};
use std::alloc::Layout;
use std::collections::BTreeMap;

/// An oracle of the address space: all live blocks of one subject.
///
/// Each block is filled with a pattern of its own when it is recorded, and the
/// pattern is verified when the block is freed or reallocated. Blocks above
/// [`SAMPLE_ABOVE`](crate::SAMPLE_ABOVE) are filled and verified by samples.
/// A block that fails a check is neither written nor recorded.
#[derive(Debug)]
pub struct Shadow {
    blocks: BTreeMap<usize, Block>,
    seeds: SplitMix64,
    live_bytes: usize,
}

impl Default for Shadow {
    fn default() -> Self {
        Self::new()
    }
}

impl Shadow {
    /// An oracle that knows no block.
    pub fn new() -> Self {
        Self { blocks: BTreeMap::new(), seeds: SplitMix64::new(0), live_bytes: 0 }
    }

    /// Sum of the sizes of all live blocks.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Number of live blocks.
    pub fn live_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Checks a new block, records it and fills it: not null, aligned, no
    /// overlap with a live block and, if `zeroed`, all its bytes zero.
    ///
    /// # Safety
    /// If not null, `ptr` must be what an allocator returned for `layout`, and
    /// nobody else may use the block until it is [freed](Self::freeing).
    pub unsafe fn allocated(&mut self, ptr: *mut u8, layout: Layout, zeroed: bool) -> Result<(), Violation> {
        let block = self.admit(ptr, layout)?;
        if zeroed {
            // SAFETY: the block is the caller's and overlaps no other.
            unsafe { vet_zero(&block)? };
        }
        // SAFETY: as above.
        unsafe { self.record(block) };
        Ok(())
    }

    /// Verifies every byte of a block that is about to be freed, and forgets
    /// the block.
    ///
    /// # Safety
    /// The block must still be valid, that is not yet freed.
    pub unsafe fn freeing(&mut self, ptr: *mut u8, layout: Layout) -> Result<(), Violation> {
        let block = self.find(ptr, layout)?;
        // SAFETY: it is live, and filled as all recorded blocks are.
        unsafe { block.verify()? };
        self.forget(&block);
        Ok(())
    }

    /// Checks the answer of a reallocation: as for a new block, and the first
    /// `min(old, new)` bytes preserved. The new block replaces the old one.
    ///
    /// # Safety
    /// If not null, `new_ptr` must be what the allocator returned when asked to
    /// reallocate the old block to `new_size` bytes.
    ///
    /// # Panics
    /// If no layout has this size and the alignment of the old block.
    pub unsafe fn reallocated(
        &mut self,
        old_ptr: *mut u8,
        old_layout: Layout,
        new_ptr: *mut u8,
        new_size: usize,
    ) -> Result<(), Violation> {
        let old = self.find(old_ptr, old_layout)?;
        let layout = resized(old_layout, new_size);
        // Null leaves the old block as it was.
        vet(new_ptr, layout)?;
        // The old block is gone, so the new one may well overlap it.
        self.forget(&old);
        let new = self.admit(new_ptr, layout)?;
        // SAFETY: `new` is the caller's, and `old` was filled.
        unsafe {
            vet_prefix(&old, &new)?;
            self.record(new);
        }
        Ok(())
    }

    /// Verifies the contents of one live block.
    ///
    /// # Safety
    /// The block must still be valid, that is not yet freed.
    pub unsafe fn verify(&self, ptr: *mut u8, layout: Layout) -> Result<(), Violation> {
        let block = self.find(ptr, layout)?;
        // SAFETY: it is live, and filled as all recorded blocks are.
        unsafe { block.verify() }
    }

    /// Verifies the contents of all live blocks.
    ///
    /// # Safety
    /// All of them must still be valid: each block freed was announced.
    pub unsafe fn verify_all(&self) -> Result<(), Violation> {
        // SAFETY: each is live, and filled as all recorded blocks are.
        self.blocks.values().try_for_each(|block| unsafe { block.verify() })
    }

    /// Checks a new block against all others.
    fn admit(&mut self, ptr: *mut u8, layout: Layout) -> Result<Block, Violation> {
        vet(ptr, layout)?;
        let end = ptr.addr() + layout.size();
        // Live blocks are disjoint: the last that begins before `end` decides.
        if let Some((_, live)) = self.blocks.range(..end).next_back()
            && live.ptr.addr() + live.layout.size() > ptr.addr()
        {
            let new = Extent::new(ptr, layout);
            return Err(Violation::Overlap { new, live: live.extent() });
        }
        Ok(Block { ptr, layout, seed: self.seeds.next_u64() })
    }

    /// Fills and records an admitted block.
    ///
    /// # Safety
    /// The block must be live and owned by the caller.
    unsafe fn record(&mut self, block: Block) {
        // SAFETY: same contract.
        unsafe { block.fill() };
        self.live_bytes += block.layout.size();
        self.blocks.insert(block.ptr.addr(), block);
    }

    fn find(&self, ptr: *mut u8, layout: Layout) -> Result<Block, Violation> {
        let given = Extent::new(ptr, layout);
        match self.blocks.get(&ptr.addr()) {
            None => Err(Violation::NotLive { block: given }),
            Some(block) if block.layout != layout => Err(Violation::WrongLayout { live: block.extent(), given }),
            Some(block) => Ok(*block),
        }
    }

    fn forget(&mut self, block: &Block) {
        if self.blocks.remove(&block.ptr.addr()).is_some() {
            self.live_bytes -= block.layout.size();
        }
    }
}

impl Oracle for Shadow {
    unsafe fn allocated(&mut self, ptr: *mut u8, layout: Layout, zeroed: bool) -> Result<Block, Violation> {
        // SAFETY: same contract.
        unsafe { Shadow::allocated(self, ptr, layout, zeroed)? };
        self.find(ptr, layout)
    }

    unsafe fn freeing(&mut self, block: &Block) -> Result<(), Violation> {
        // SAFETY: same contract.
        unsafe { Shadow::freeing(self, block.ptr, block.layout) }
    }

    unsafe fn reallocating(&mut self, block: &Block) -> Result<(), Violation> {
        // SAFETY: same contract.
        unsafe { Shadow::verify(self, block.ptr, block.layout) }
    }

    unsafe fn reallocated(&mut self, old: &Block, ptr: *mut u8, size: usize) -> Result<Block, Violation> {
        // SAFETY: same contract.
        unsafe { Shadow::reallocated(self, old.ptr, old.layout, ptr, size)? };
        self.find(ptr, resized(old.layout, size))
    }

    unsafe fn realloc_failed(&mut self, block: &Block) -> Result<(), Violation> {
        // SAFETY: same contract.
        unsafe { Shadow::verify(self, block.ptr, block.layout) }
    }
}
