//! What a pool counts.

use core::array::from_fn;
use kmem_base::sync::{AtomicU64, Ordering, me};

/// Stripes, so that threads seldom write to one line.
const STRIPES: usize = if kmem_base::sync::MODEL { 1 } else { 8 };
const COUNTS: usize = Count::Recompressed as usize + 1;

/// What is counted, each in one word of a stripe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Count {
    /// Data held, same-filled included.
    Held,
    /// Its length.
    Original,
    /// The length that it has become.
    Stored,
    /// Same-filled data held.
    Filled,
    /// Data held as it is.
    Raw,
    /// Data that was stored as it is, ever.
    RawEver,
    /// Refused: incompressible.
    Incompressible,
    /// Refused: limit or memory.
    Full,
    /// Refused: mean.
    Mean,
    /// Bytes that recompressing has gained.
    Recompressed,
}

/// Words of one cache line and a bit.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTS]);

/// Sums over stripes. Differences may make single stripes negative; sums are right modulo 2^64.
#[derive(Debug)]
pub(crate) struct Counters([Stripe; STRIPES]);

impl Counters {
    pub(crate) fn new() -> Self {
        Self(from_fn(|_| Stripe(from_fn(|_| AtomicU64::new(0)))))
    }

    fn stripe(&self) -> &Stripe {
        // Threads' blocks are some MiB apart, or a few pages.
        let thread = me() >> 12;
        &self.0[(thread ^ thread >> 9) % STRIPES]
    }

    /// Adds, modulo 2^64.
    pub(crate) fn add(&self, count: Count, by: usize) {
        // Relaxed: counts order nothing.
        self.stripe().0[count as usize].fetch_add(by as u64, Ordering::Relaxed);
    }

    /// Subtracts, modulo 2^64.
    pub(crate) fn sub(&self, count: Count, by: usize) {
        self.add(count, by.wrapping_neg());
    }

    /// The sum. While others count it may be off by what they are doing, and below zero by that: then it is 0.
    pub(crate) fn sum(&self, count: Count) -> usize {
        let sum = self.0.iter().fold(0, |sum: u64, stripe| sum.wrapping_add(stripe.0[count as usize].load(Ordering::Relaxed)));
        if sum > u64::MAX / 2 { 0 } else { sum as usize }
    }
}

/// What a pool holds: zram's `mm_stat`, and what it has refused. One moment's figures only while no other thread changes the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolStats {
    /// Pages or buffers held, same-filled ones included.
    pub held: usize,
    /// Their length (`orig_data_size`).
    pub original_bytes: usize,
    /// What they were compressed to (`compr_data_size`).
    pub stored_bytes: usize,
    /// Memory behind objects, with handles and descriptors (`mem_used_total`).
    pub used_bytes: usize,
    /// The limit (`mem_limit`).
    pub limit_bytes: usize,
    /// The most that was used, seen every 256 stores of a thread and when this is asked for (`mem_used_max`).
    pub used_bytes_most: usize,
    /// Same-filled ones held (`same_pages`).
    pub filled: usize,
    /// Held as they are (`huge_pages`).
    pub raw: usize,
    /// Ever stored as they are (`huge_pages_since`).
    pub raw_ever: usize,
    /// Refused since they compress too little.
    pub refused_incompressible: usize,
    /// Refused for the limit, or for want of memory.
    pub refused_full: usize,
    /// Refused for the mean.
    pub refused_mean: usize,
    /// Bytes that recompressing has gained.
    pub recompressed_bytes: usize,
    /// Working memory of the codecs: what threads have used of it, at most.
    pub work_bytes: usize,
}
