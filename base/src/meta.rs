//! Metadata: what the allocator needs for itself, carved from runs of pages and kept for good.

use crate::config::{META_PAGES, PAGE_SIZE};
use crate::pages::{Kind, Pages};
use crate::sync::{AtomicUsize, Lock, Ordering, Rank, const_fn};
use core::ptr::{NonNull, null_mut};

#[derive(Debug)]
struct Chunk {
    at: *mut u8,
    left: usize,
}

// SAFETY: memory that nobody has been given yet, reached under its lock alone.
unsafe impl Send for Chunk {}

/// A bump allocator of zeroed memory.
#[derive(Debug)]
pub struct Meta {
    chunk: Lock<Chunk, { Rank::Meta.of() }>,
    bytes: AtomicUsize,
}

impl Meta {
    const_fn! {
        /// Nothing yet.
        #[must_use]
        pub const fn new() -> Self {
            Self { chunk: Lock::new(Chunk { at: null_mut(), left: 0 }), bytes: AtomicUsize::new(0) }
        }
    }

    /// `len` zero bytes aligned to `align`, a power of two of at most a page. Never freed.
    #[must_use]
    pub fn alloc(&self, pages: &Pages, len: usize, align: usize) -> Option<NonNull<u8>> {
        debug_assert!(align.is_power_of_two() && align <= PAGE_SIZE);
        let mut chunk = self.chunk.lock();
        let taken = chunk.take(len, align).or_else(|| {
            let span = (len.div_ceil(PAGE_SIZE) as u32).max(META_PAGES);
            let run = pages.alloc_zeroed(span, 1, Kind::Meta)?;
            // What is left of the old chunk is lost: less than what was asked for.
            *chunk = Chunk { at: run.address, left: span as usize * PAGE_SIZE };
            chunk.take(len, align)
        })?;
        self.bytes.fetch_add(len, Ordering::Relaxed);
        Some(taken)
    }

    /// Bytes handed out.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes the lock before `fork`.
    pub fn prepare_fork(&self) {
        self.chunk.acquire();
    }

    /// Releases it, in parent and child.
    ///
    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe { self.chunk.release() };
    }
}

impl Default for Meta {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunk {
    fn take(&mut self, len: usize, align: usize) -> Option<NonNull<u8>> {
        let skip = self.at.addr().next_multiple_of(align) - self.at.addr();
        let whole = skip.checked_add(len)?;
        if whole > self.left {
            return None;
        }
        let taken = self.at.wrapping_add(skip);
        self.at = self.at.wrapping_add(whole);
        self.left -= whole;
        NonNull::new(taken)
    }
}
