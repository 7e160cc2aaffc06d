//! What is counted per cache.

use kmem_base::stats::counters;
pub(crate) use kmem_base::stats::{add, count};

counters! {
    /// What happened in a cache, by the names that SLUB's statistics have where there is one.
    Counters;

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
