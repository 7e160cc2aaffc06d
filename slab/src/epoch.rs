//! Grace periods: the pages of a type-safe cache's slab go back only once every reader is gone that was there when it was given up.
//! Theory 3.6.
//!
//! Readers count themselves in and out on one of two sides, in a row of their CPU's so that they do not meet. The epoch's lowest bit is
//! the side on which they count. It moves on when the other side is empty; so after two moves every reader is gone that was there
//! before, a late one too that had read the epoch and not yet counted: it stands on one of the sides that both moves looked at.

use crate::config::READER_ROWS;
use crate::slab::Slab;
use kmem_base::pages::{Page, PageList, Pages};
use kmem_base::sync::{AtomicU32, Lock, Ordering, Rank, const_fn, fence, filled, relax};

/// Moves of the epoch that make a grace period.
const MOVES: u32 = 2;

#[derive(Debug)]
#[repr(align(64))]
struct Readers([AtomicU32; 2]);

/// See the module.
#[derive(Debug)]
pub(crate) struct Grace {
    epoch: AtomicU32,
    readers: [Readers; READER_ROWS],
    /// Slabs that wait, oldest first; each one's state word holds the epoch at which it was given up.
    limbo: Lock<PageList, { Rank::Depot.of() }>,
}

/// A reader of type-safe objects: until it is dropped, what was freed keeps its type. Theory 3.6.
#[derive(Debug)]
#[must_use]
pub struct Pinned<'a> {
    grace: &'a Grace,
    row: usize,
    side: usize,
}

impl Grace {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Self {
                epoch: AtomicU32::new(0),
                readers: filled![Readers([AtomicU32::new(0), AtomicU32::new(0)]); READER_ROWS],
                limbo: Lock::new(PageList::new()),
            }
        }
    }

    pub(crate) fn pin(&self, row: u32) -> Pinned<'_> {
        let row = row as usize % READER_ROWS;
        let side = (self.epoch.load(Ordering::Relaxed) & 1) as usize;
        self.readers[row].0[side].fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence in `advance`: either that sees this reader, or this reader sees what was unlinked before it.
        fence(Ordering::SeqCst);
        Pinned { grace: self, row, side }
    }

    /// Moves the epoch on if the other side is empty. Under the lock of `limbo`.
    fn advance(&self) -> bool {
        // Pairs with the fence in `pin`.
        fence(Ordering::SeqCst);
        let epoch = self.epoch.load(Ordering::Relaxed);
        let other = (epoch & 1 ^ 1) as usize;
        // Acquire pairs with the Release of a reader that leaves: what it has read, it has read.
        if self.readers.iter().any(|row| row.0[other].load(Ordering::Acquire) != 0) {
            return false;
        }
        self.epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);
        true
    }

    /// Gives up the pages of a slab without objects: now if nobody reads, else later.
    pub(crate) fn retire(&self, pages: &Pages, page: &Page) {
        let mut limbo = self.limbo.lock();
        page.state.store(self.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
        // SAFETY: the slab is on no list, and its descriptor is never unmapped.
        unsafe { limbo.append(page) };
        drop(limbo);
        self.settle(pages);
    }

    /// Gives back the pages that nobody can read any more. Returns how many slabs still wait.
    pub(crate) fn settle(&self, pages: &Pages) -> usize {
        loop {
            let mut limbo = self.limbo.lock();
            let Some(oldest) = limbo.first() else { return 0 };
            let since = |page: &Page| self.epoch.load(Ordering::Relaxed).wrapping_sub(page.state.load(Ordering::Relaxed));
            while since(oldest) < MOVES {
                if !self.advance() {
                    return limbo.len() as usize;
                }
            }
            let Some(page) = limbo.pop() else { return 0 };
            drop(limbo);
            page.set_owner(core::ptr::null_mut());
            // SAFETY: a slab without objects that is on no list, and that no reader has a way to any more.
            unsafe { pages.free(page) };
        }
    }

    /// Slabs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.limbo.lock().len() as usize
    }

    pub(crate) fn check(&self) -> bool {
        self.limbo.lock().check()
    }

    pub(crate) fn prepare_fork(&self) {
        self.limbo.acquire();
    }

    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe { self.limbo.release() };
    }
}

impl Drop for Pinned<'_> {
    #[doc(alias = "rcu_read_unlock")]
    fn drop(&mut self) {
        // Release pairs with the Acquire in `advance`.
        self.grace.readers[self.row].0[self.side].fetch_sub(1, Ordering::Release);
    }
}

impl Slab {
    /// Begins to read objects of type-safe caches. As long as the result lives, an object found in a structure stays memory of its cache, though
    /// it may be freed and used again meanwhile: the reader must be able to tell. Costs two atomic operations; may be nested.
    #[doc(alias = "rcu_read_lock")]
    pub fn pin(&self) -> Pinned<'_> {
        self.grace.pin(self.percpu.row().unwrap_or(0))
    }

    /// Waits until every slab given up so far is given back. Not while this thread is pinned: that would wait for itself.
    #[doc(alias = "synchronize_rcu")]
    #[doc(alias = "rcu_barrier")]
    pub fn synchronize(&self) {
        let mut round = 0;
        while self.grace.settle(&self.pages) > 0 {
            relax(&mut round);
        }
    }

    /// Slabs of type-safe caches that wait for readers to go.
    #[must_use]
    pub fn waiting_slabs(&self) -> usize {
        self.grace.waiting()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_waits_for_both_sides() {
        let grace = Grace::new();
        let old = grace.pin(0);
        assert!(grace.advance(), "the other side is empty");
        let new = grace.pin(1);
        assert!(!grace.advance(), "the old reader's side is not");
        drop(old);
        assert!(grace.advance());
        assert!(!grace.advance(), "nor is now the new one's");
        drop(new);
        assert!(grace.advance());
    }
}
