//! Every constant of the crate. Theory 6.

/// Objects per CPU array by bytes of an object: SLAB's table. The first row that applies counts.
pub(crate) const LIMITS: [(usize, u32); 5] = [(131_072, 1), (4096, 8), (1024, 24), (256, 54), (0, 120)];
/// Batches in a node's shared array ...
pub(crate) const SHARED_FACTOR: u32 = 8;
/// ... for objects of at most this many bytes, where there is more than one CPU.
pub(crate) const SHARED_MAX_SIZE: usize = 4096;
/// Objects in an alien array.
pub(crate) const ALIEN_LIMIT: u32 = 12;
/// The first refill of an array that nobody seems to use.
pub(crate) const UNTOUCHED_BATCH: u32 = 16;
/// The largest sheaf holds so many objects: no limit may exceed it.
pub(crate) const MOST_QUEUED: u32 = (1 << (kmem_base::config::SHEAF_MAX_ORDER - 3)) - 1;

/// Sizes of magazines, each for objects above the first number of bytes, and to be grown while they are below the second.
pub(crate) const MAGAZINES: [(u32, usize, usize); 9] = [
    (1, 3200, 65_536),
    (3, 256, 32_768),
    (7, 64, 16_384),
    (15, 0, 8192),
    (31, 0, 4096),
    (47, 0, 2048),
    (63, 0, 1024),
    (95, 0, 512),
    (143, 0, 0),
];
/// Depot locks found busy in a window from which on the magazines grow.
pub(crate) const CONTENTION: u32 = 3;
/// Windows without a busy lock after which they shrink again.
pub(crate) const CALM_WINDOWS: u32 = 4;

/// Milliseconds between two passes over the CPUs' arrays. Every second one also looks at nodes: shared and alien arrays, free slabs.
pub(crate) const REAP_MS: u64 = 2000;
/// Passes between two looks at the magazines' size: about 15 seconds.
pub(crate) const UPDATE_PASSES: u32 = 7;
/// An idle array gives up one part in so many of its limit ...
pub(crate) const REAP_SHARE: u32 = 5;
/// Pages in use from which on passes happen by themselves: 1 MiB.
pub(crate) const SMALL_HEAP: usize = 16;

/// A slab wastes at most one part in so many.
pub(crate) const WASTE: usize = 8;
/// The largest slab, in pages.
pub(crate) const MAX_SLAB_PAGES: usize = 32;
/// The largest object, in bytes.
pub(crate) const MAX_SIZE: usize = 256 << 10;
/// Objects that an index of one byte can tell apart.
pub(crate) const NARROW: usize = 256;

/// Counters of readers, each on a cache line of its own.
pub(crate) const READER_ROWS: usize = if kmem_base::sync::MODEL { 2 } else { 64 };
/// Live objects that a refused destruction names.
pub(crate) const NAMED: usize = 4;
