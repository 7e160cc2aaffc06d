//! The pool's limit.

use kmem_base::sync::{AtomicUsize, Ordering};

/// Pages behind the spans and spare places of all shards, and how many these may be.
#[derive(Debug)]
pub(super) struct Quota {
    limit: usize,
    pages: AtomicUsize,
}

impl Quota {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, pages: AtomicUsize::new(0) }
    }

    /// Most pages.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes pages. False if that would be too many.
    pub(super) fn take(&self, pages: usize) -> bool {
        // Relaxed, here and below: a count, which orders nothing.
        let taken = self
            .pages
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| now.checked_add(pages).filter(|sum| *sum <= self.limit));
        taken.is_ok()
    }

    /// Takes pages whatever the limit: for compaction, which gives more back soon.
    pub(super) fn exceed(&self, pages: usize) -> bool {
        self.pages.fetch_add(pages, Ordering::Relaxed);
        true
    }

    /// Gives pages back.
    pub(super) fn put(&self, pages: usize) {
        self.pages.fetch_sub(pages, Ordering::Relaxed);
    }

    /// Pages taken.
    pub(super) fn pages(&self) -> usize {
        self.pages.load(Ordering::Relaxed)
    }
}
