//! The limit's hysteresis, and the most that was used (theory 4.6). The limit itself is kept by [`Zspool`].

use super::Settings;
use crate::spool::Zspool;
use kmem_base::source::PageSource;
use kmem_base::sync::{AtomicU32, AtomicUsize, Ordering};

/// Stores between two looks at what is used.
const INTERVAL: u32 = 256;

#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Limit {
    /// 1 from a refusal on, until so much has been freed that data is accepted again.
    full: AtomicU32,
    stores: AtomicU32,
    most: AtomicUsize,
}

impl Limit {
    pub(super) fn new() -> Self {
        Self { full: AtomicU32::new(0), stores: AtomicU32::new(0), most: AtomicUsize::new(0) }
    }

    /// Bytes in use.
    pub(super) fn used<S: PageSource>(&self, spool: &Zspool<S>) -> usize {
        let stats = spool.stats();
        let used = stats.resident + stats.metadata;
        // Relaxed: a figure to be looked at.
        self.most.fetch_max(used, Ordering::Relaxed);
        used
    }

    /// The most of them, as far as it was seen.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Looks at what is used, every now and then.
    pub(super) fn look<S: PageSource>(&self, spool: &Zspool<S>) {
        // Loaded and stored, not added to: a lost count does not matter.
        let stores = self.stores.load(Ordering::Relaxed).wrapping_add(1);
        self.stores.store(stores, Ordering::Relaxed);
        if stores.is_multiple_of(INTERVAL) {
            self.used(spool);
        }
    }

    /// The spool has refused.
    pub(super) fn reached(&self) {
        // Relaxed, as below: threads that see it late are refused by the spool.
        self.full.store(1, Ordering::Relaxed);
    }

    /// Whether data may be stored.
    pub(super) fn admits<S: PageSource>(&self, settings: &Settings, spool: &Zspool<S>) -> bool {
        if self.full.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let threshold = settings.limit / 100 * usize::from(settings.accept);
        if settings.accept < 100 && spool.stats().resident > threshold {
            return false;
        }
        self.full.store(0, Ordering::Relaxed);
        true
    }
}
