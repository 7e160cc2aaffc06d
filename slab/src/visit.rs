//! Who looks after a cache without being its user: a pass of the reaper, a trim, a slab on its way out. And keeping them away while the
//! cache is destroyed, or its debugging is switched. Theory 5.

use crate::cache::RawCache;
use kmem_base::sync::{AtomicU32, Ordering, relax};

/// Set while visitors are kept away; the other bits count them.
const CLOSED: u32 = 1 << 31;

/// Visitors of one cache.
#[derive(Debug)]
pub(crate) struct Visitors(AtomicU32);

impl Visitors {
    pub(crate) fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    /// True if there is one. Exact under the locks of the cache's nodes for slabs on their way out: each comes under one of them.
    pub(crate) fn any(&self) -> bool {
        // Acquire pairs with the Release of the last visitor that left.
        self.0.load(Ordering::Acquire) & !CLOSED != 0
    }

    /// In a child of `fork`: other threads' visits are over.
    pub(crate) fn after_fork(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A visit, until dropped.
#[derive(Debug)]
pub(crate) struct Visit<'a>(&'a Visitors);

/// Visitors are kept away until this is dropped.
pub(crate) struct Closed<'a>(&'a Visitors);

impl RawCache {
    /// Begins a visit; `None` while visitors are kept away.
    pub(crate) fn visit(&self) -> Option<Visit<'_>> {
        // Acquire pairs with the Release in `Closed`.
        let before = self.visitors.0.fetch_add(1, Ordering::Acquire);
        let visit = Visit(&self.visitors);
        (before & CLOSED == 0).then_some(visit)
    }

    /// A visit that cannot be refused: somebody who uses the cache.
    pub(crate) fn visit_anyway(&self) -> Visit<'_> {
        self.visitors.0.fetch_add(1, Ordering::Relaxed);
        Visit(&self.visitors)
    }

    /// Keeps visitors away, once those that there are have left. Not for a visitor.
    pub(crate) fn close(&self) -> Closed<'_> {
        let mut round = 0;
        while self.visitors.0.fetch_or(CLOSED, Ordering::Acquire) & CLOSED != 0 {
            relax(&mut round);
        }
        while self.visitors.any() {
            relax(&mut round);
        }
        Closed(&self.visitors)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `any`. Not below 0, if a child of `fork` has begun anew meanwhile.
        let _were_none = self.0.0.fetch_update(Ordering::Release, Ordering::Relaxed, |now| (now & !CLOSED != 0).then(|| now - 1));
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_and(!CLOSED, Ordering::Release);
    }
}
