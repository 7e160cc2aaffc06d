//! The lock order as a type, checked in debug builds.

/// The locks of kmem, in the order in which a thread may take them: only upwards. `try_lock` is exempt, as it cannot wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rank {
    /// The list of caches, and changes of a cache's tunables.
    Registry = 2,
    /// Draining other CPUs' queues.
    Drain = 4,
    /// One shard's partial list of one cache.
    Shard = 5,
    /// One node's depot of one cache.
    Depot = 6,
    /// Empty sheaves of one size.
    Blocks = 7,
    /// The metadata chunk.
    Meta = 8,
    /// Runs of pages that one CPU keeps.
    Kept = 9,
    /// Free runs of every arena.
    Pages = 10,
    /// The table of huge blocks.
    Huge = 11,
}

#[cfg(all(debug_assertions, target_os = "linux", not(loom)))]
mod checker {
    //! Which ranks each thread holds, without thread-local storage: a small open-addressed table keyed by the address of the
    //! thread's `errno`. A thread that finds no place goes unchecked.

    use crate::fault::{Fault, die};
    use crate::sync::{AtomicU32, AtomicUsize, Ordering};

    const ENTRIES: usize = 1024;
    static OWNERS: [AtomicUsize; ENTRIES] = [const { AtomicUsize::new(0) }; ENTRIES];
    /// Number of held locks, 3 bits a rank would not do for fork: one count per rank and thread.
    static HELD: [[AtomicU32; 16]; ENTRIES] = [const { [const { AtomicU32::new(0) }; 16] }; ENTRIES];

    fn entry() -> Option<&'static [AtomicU32; 16]> {
        // SAFETY: returns the address of this thread's errno.
        let thread = unsafe { libc::__errno_location() } as usize;
        let start = (thread >> 6).wrapping_mul(0x9E37_79B9) % ENTRIES;
        for probe in 0..16 {
            let at = (start + probe) % ENTRIES;
            let owner = OWNERS[at].load(Ordering::Relaxed);
            if owner == thread {
                return Some(&HELD[at]);
            }
            if owner == 0 && OWNERS[at].compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Some(&HELD[at]);
            }
        }
        None
    }

    /// Faults if this thread holds a lock of `rank` or above.
    pub(crate) fn verify(rank: u8) {
        let Some(held) = entry() else { return };
        if held[rank as usize..].iter().any(|count| count.load(Ordering::Relaxed) != 0) {
            die(Fault::LockOrder, rank as usize, "lock");
        }
    }

    /// Notes that this thread holds one more lock of `rank`.
    pub(crate) fn took(rank: u8) {
        if let Some(held) = entry() {
            held[rank as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn released(rank: u8) {
        if let Some(held) = entry() {
            let _ = held[rank as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_sub(1)));
        }
    }
}

#[cfg(not(all(debug_assertions, target_os = "linux", not(loom))))]
mod checker {
    #[inline(always)]
    pub(crate) fn verify(_rank: u8) {}
    #[inline(always)]
    pub(crate) fn took(_rank: u8) {}
    #[inline(always)]
    pub(crate) fn released(_rank: u8) {}
}

pub(super) use checker::{released, took, verify};
