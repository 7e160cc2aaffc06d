//! The oracle for many threads.

use crate::block::Block;
use crate::oracle::{Oracle, resized, vet, vet_prefix, vet_zero};
use crate::rng::SplitMix64;
use crate::violation::{Extent, Violation};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;
const REGION_BITS: u32 = 16;

/// The part of a block in one region: its end, and the whole block.
struct Piece {
    end: usize,
    block: Extent,
}

/// A concurrent set of disjoint address ranges.
///
/// The address space is cut in regions of 64 KiB that are spread over shards,
/// each with its own lock. A block is recorded piecewise, in each region that
/// it touches. Two overlapping blocks share a region, so whichever comes second
/// to that region sees the other: one lock at a time is enough.
///
/// Contents are not its business: each [`Block`] carries its own seed.
pub struct ShadowShards {
    shards: Vec<Mutex<BTreeMap<usize, Piece>>>,
    blocks: AtomicUsize,
    bytes: AtomicUsize,
    peak_blocks: AtomicUsize,
    peak_bytes: AtomicUsize,
}

impl Default for ShadowShards {
    fn default() -> Self {
        Self::new()
    }
}

impl ShadowShards {
    /// A set that knows no block.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            blocks: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            peak_blocks: AtomicUsize::new(0),
            peak_bytes: AtomicUsize::new(0),
        }
    }

    /// Number of live blocks.
    pub fn live_blocks(&self) -> usize {
        self.blocks.load(Relaxed)
    }

    /// Sum of the sizes of all live blocks.
    pub fn live_bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The most blocks and the most bytes that were live at any time.
    pub fn peaks(&self) -> (usize, usize) {
        (self.peak_blocks.load(Relaxed), self.peak_bytes.load(Relaxed))
    }

    /// Checks a new block and records it; call it after the allocation.
    pub fn insert(&self, ptr: *const u8, layout: Layout) -> Result<(), Violation> {
        vet(ptr, layout)?;
        let new = Extent::new(ptr, layout);
        pieces(new).try_for_each(|(start, end)| self.insert_piece(start, end, new))?;
        let blocks = self.blocks.fetch_add(1, Relaxed) + 1;
        let bytes = self.bytes.fetch_add(new.size, Relaxed) + new.size;
        self.peak_blocks.fetch_max(blocks, Relaxed);
        self.peak_bytes.fetch_max(bytes, Relaxed);
        Ok(())
    }

    /// Forgets a block; call it *before* it is freed or reallocated.
    pub fn remove(&self, ptr: *const u8, layout: Layout) -> Result<(), Violation> {
        let given = Extent::new(ptr, layout);
        for (start, _) in pieces(given) {
            match self.shard(start).remove(&start) {
                None => return Err(Violation::NotLive { block: given }),
                Some(piece) if piece.block != given => {
                    return Err(Violation::WrongLayout { live: piece.block, given });
                }
                Some(_) => {}
            }
        }
        self.blocks.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(given.size, Relaxed);
        Ok(())
    }

    fn insert_piece(&self, start: usize, end: usize, new: Extent) -> Result<(), Violation> {
        let mut shard = self.shard(start);
        if let Some((_, live)) = shard.range(..end).next_back()
            && live.end > start
        {
            return Err(Violation::Overlap { new, live: live.block });
        }
        shard.insert(start, Piece { end, block: new });
        Ok(())
    }

    fn shard(&self, addr: usize) -> MutexGuard<'_, BTreeMap<usize, Piece>> {
        let shard = &self.shards[(addr >> REGION_BITS) % SHARDS];
        // A poisoned lock only means that the run fails already.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a block at the borders of regions.
fn pieces(block: Extent) -> impl Iterator<Item = (usize, usize)> {
    let end = block.addr + block.size;
    let mut start = block.addr;
    std::iter::from_fn(move || {
        let border = ((start >> REGION_BITS) + 1) << REGION_BITS;
        let piece = (start, border.min(end));
        start = piece.1;
        (piece.0 < piece.1).then_some(piece)
    })
}

/// One thread's view of [`ShadowShards`], with its own sequence of seeds.
pub(crate) struct ShardOracle<'a> {
    shards: &'a ShadowShards,
    seeds: SplitMix64,
}

impl<'a> ShardOracle<'a> {
    pub(crate) fn new(shards: &'a ShadowShards, seed: u64) -> Self {
        Self { shards, seeds: SplitMix64::new(seed) }
    }

    /// Records a block before anything is written to it.
    fn admit(&mut self, ptr: *mut u8, layout: Layout) -> Result<Block, Violation> {
        self.shards.insert(ptr, layout)?;
        Ok(Block { ptr, layout, seed: self.seeds.next_u64() })
    }
}

impl Oracle for ShardOracle<'_> {
    unsafe fn allocated(&mut self, ptr: *mut u8, layout: Layout, zeroed: bool) -> Result<Block, Violation> {
        let block = self.admit(ptr, layout)?;
        // SAFETY: the block is the caller's and overlaps no other.
        unsafe {
            if zeroed {
                vet_zero(&block)?;
            }
            block.fill();
        }
        Ok(block)
    }

    unsafe fn freeing(&mut self, block: &Block) -> Result<(), Violation> {
        // SAFETY: it is live and was filled when it was admitted.
        unsafe { block.verify()? };
        self.shards.remove(block.ptr, block.layout)
    }

    unsafe fn reallocating(&mut self, block: &Block) -> Result<(), Violation> {
        // SAFETY: same contract. The block leaves the set, as it may be freed
        // and given to another thread before the reallocation returns.
        unsafe { self.freeing(block) }
    }

    unsafe fn reallocated(&mut self, old: &Block, ptr: *mut u8, size: usize) -> Result<Block, Violation> {
        let new = self.admit(ptr, resized(old.layout, size))?;
        // SAFETY: `new` is the caller's, and `old` was filled.
        unsafe {
            vet_prefix(old, &new)?;
            new.fill();
        }
        Ok(new)
    }

    unsafe fn realloc_failed(&mut self, block: &Block) -> Result<(), Violation> {
        self.shards.insert(block.ptr, block.layout)?;
        // SAFETY: it is still live, and was filled.
        unsafe { block.verify() }
    }
}
