//! Empty sheaf blocks: a chain per order in each CPU's row, a shared list behind it, fresh metadata behind that.

use super::{PerCpu, Place, Shape, Sheaf};
use crate::config::SHEAF_ORDERS;
use crate::meta::Meta;
use crate::pages::Pages;
use crate::sync::{AtomicUsize, Lock, Ordering, Rank, const_fn, filled};
use core::ptr::null_mut;

/// Blocks on a CPU's chain, per order.
const CHAIN: u64 = 48;

/// Bytes of blocks made at once.
const BATCH: usize = 8 << 10;

/// Blocks that nobody has.
#[derive(Debug)]
struct List {
    /// Given back, chained.
    head: *mut u8,
    /// Those of the last batch that were never used lie here, untouched: chained, each would make an OS page resident.
    fresh: *mut u8,
    /// How many.
    left: usize,
}

// SAFETY: dead blocks, reached under the list's lock alone.
unsafe impl Send for List {}

/// The shared lists.
#[derive(Debug)]
pub struct Blocks {
    lists: [Lock<List, { Rank::Blocks.of() }>; SHEAF_ORDERS],
    made: AtomicUsize,
}

impl Blocks {
    const_fn! {
        /// No blocks.
        #[must_use]
        pub const fn new() -> Self {
            Self { lists: filled![Lock::new(List::EMPTY); SHEAF_ORDERS], made: AtomicUsize::new(0) }
        }
    }

    /// An empty sheaf; `None` if there is no memory for one.
    #[must_use]
    pub fn get(&self, percpu: &PerCpu, meta: &Meta, pages: &Pages, shape: Shape) -> Option<Sheaf> {
        if let Some(sheaf) = self.get_nowait(percpu, shape) {
            return Some(sheaf);
        }
        let mut block = self.lists[shape.order_index()].lock().take(1 << shape.order);
        if block.is_null() {
            block = self.make(meta, pages, shape)?;
        }
        // SAFETY: a block of that order, taken off its list, is ours.
        Some(unsafe { Sheaf::new(block, shape) })
    }

    /// Makes a few blocks and returns one. Together, because the hot sheaves of a program should share OS pages: one more page per sheaf
    /// is one more TLB entry per size in use.
    #[cold]
    fn make(&self, meta: &Meta, pages: &Pages, shape: Shape) -> Option<*mut u8> {
        let (size, order) = (1_usize << shape.order, shape.order_index());
        let count = (BATCH / size).max(1);
        let first = meta.alloc(pages, count * size, size)?.as_ptr();
        self.made.fetch_add(count * size, Ordering::Relaxed);
        let mut list = self.lists[order].lock();
        if list.left == 0 {
            (list.fresh, list.left) = (first.wrapping_add(size), count - 1);
        } else {
            // Another thread's batch came in between.
            (1..count).rev().for_each(|at| list.give(first.wrapping_add(at * size)));
        }
        Some(first)
    }

    /// The same without waiting or asking for memory.
    #[must_use]
    pub fn get_nowait(&self, percpu: &PerCpu, shape: Shape) -> Option<Sheaf> {
        let (block, _) = percpu.unchain(Place::empties(shape.order_index()), 0)?;
        // SAFETY: as in `get`.
        Some(unsafe { Sheaf::new(block, shape) })
    }

    /// Takes a sheaf's block back; its objects are elsewhere.
    pub fn put(&self, percpu: &PerCpu, sheaf: Sheaf) {
        let order = sheaf.shape().order_index();
        let block = sheaf.into_block();
        if percpu.chain(Place::empties(order), 0, block, CHAIN).is_none() {
            self.lists[order].lock().give(block);
        }
    }

    /// Bytes of blocks ever made; they are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// Takes every lock before `fork`.
    pub fn prepare_fork(&self) {
        self.lists.iter().for_each(Lock::acquire);
    }

    /// Releases them, in parent and child.
    ///
    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        self.lists.iter().for_each(|list| unsafe { list.release() });
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self::new()
    }
}

impl List {
    const EMPTY: Self = Self { head: null_mut(), fresh: null_mut(), left: 0 };

    /// A block of `size` bytes, or null.
    fn take(&mut self, size: usize) -> *mut u8 {
        let block = self.head;
        if !block.is_null() {
            // SAFETY: a chained block's first eight bytes are the link.
            self.head = unsafe { block.cast::<*mut u8>().read() };
            return block;
        }
        if self.left == 0 {
            return null_mut();
        }
        let block = self.fresh;
        (self.fresh, self.left) = (block.wrapping_add(size), self.left - 1);
        block
    }

    fn give(&mut self, block: *mut u8) {
        // SAFETY: the block is dead and at least eight bytes long.
        unsafe { block.cast::<*mut u8>().write(self.head) };
        self.head = block;
    }
}
