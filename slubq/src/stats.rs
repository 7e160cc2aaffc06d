//! Counters per cache. Only slow paths count: the fast paths leave no trace, which is what makes them fast.

use kmem_base::sync::{AtomicU64, Ordering, const_fn};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// What happened in a cache, by the names that SLUB's statistics have where there is one.
        #[derive(Debug)]
        #[repr(align(64))]
        pub struct Counters { $($(#[doc = $doc])+ pub $name: AtomicU64,)+ }

        impl Counters {
            const_fn! {
                pub(crate) const fn new() -> Self {
                    Self { $($name: AtomicU64::new(0),)+ }
                }
            }

            /// Adds what `other` counted.
            pub(crate) fn include(&self, other: &Self) {
                $(add(&self.$name, other.$name.load(Ordering::Relaxed));)+
            }

            /// Calls `each` with every counter's name and value.
            pub fn for_each(&self, mut each: impl FnMut(&'static str, u64)) {
                $(each(stringify!($name), self.$name.load(Ordering::Relaxed));)+
            }
        }
    };
}

counters! {
    /// Allocations that found the main sheaf empty.
    alloc_slowpath;
    /// ... and were served by the spare sheaf,
    alloc_spare;
    /// ... the CPU's stash,
    alloc_stash;
    /// ... the node's depot,
    alloc_shared;
    /// ... or the slabs, a batch at a time,
    alloc_slab;
    /// ... or the slabs, alone: no queue, or no memory for a sheaf.
    alloc_direct;
    /// Frees that found the main sheaf full.
    free_slowpath;
    /// Full sheaves that went to the depot.
    free_shared;
    /// Full sheaves that went back to the slabs.
    free_slab;
    /// Objects freed alone.
    free_direct;
    /// Slabs made.
    new_slab;
    /// Slabs given back.
    free_slab_pages;
    /// Partial slabs taken over from another shard.
    steal;
    /// Bytes inside used slabs that went back to the system.
    punched;
    /// Allocations refused.
    failed;
}

/// Adds one. Not atomic as a whole: a count lost to a race is worth less than the bus traffic of counting it.
#[inline]
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds `n`, in the same way.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
