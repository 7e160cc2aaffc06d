//! What is counted per node of a cache.

use kmem_base::stats::counters;
pub(crate) use kmem_base::stats::{add, count};

counters! {
    /// What happened in a cache.
    Counters;

    /// Allocations that found the CPU's array or loaded magazine empty.
    alloc_miss;
    /// Frees that found it full.
    free_miss;
    /// Locks of nodes, alien arrays and depots taken.
    locks;
    /// Refills from the shared array, or magazines from the depot.
    shared_hit;
    /// Batches that went to the shared array, or magazines to the depot.
    shared_put;
    /// Objects taken from and returned to slabs alone: no queue.
    direct;
    /// Objects of other nodes that went through an alien array.
    alien;
    /// Slabs made.
    grown;
    /// Slabs given back.
    reaped;
    /// Allocations refused.
    failed;
}
