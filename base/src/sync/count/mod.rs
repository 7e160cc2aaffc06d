//! Counts what operations cost beyond their own CPU: only in builds with the feature `count`, which are for counting, not for timing.
//!
//! Two things are counted. Locks, by rank: how often they were taken, waited for, found busy, and how long they were held. And writes to
//! atomics, by the line of source that wrote: how many there were, and how many were to a cache line that another CPU had written last,
//! so that the line had to *move*. Plain memory behind a lock is not seen; nor are the words of a restartable sequence, which no other
//! CPU writes.

mod atomics;
mod lines;

pub use atomics::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
pub use lines::{Site, for_each_site, watch};

use super::Rank;
use core::sync::atomic::{AtomicU64 as Plain, Ordering::Relaxed};

/// Ranks and their names.
pub const RANKS: [(Rank, &str); 9] = [
    (Rank::Registry, "registry"),
    (Rank::Drain, "drain"),
    (Rank::Shard, "shard"),
    (Rank::Depot, "depot"),
    (Rank::Blocks, "blocks"),
    (Rank::Meta, "meta"),
    (Rank::Kept, "kept"),
    (Rank::Pages, "pages"),
    (Rank::Huge, "huge"),
];

/// A holder that took longer, in ticks, was interrupted or made a system call.
const LONG: u64 = 1 << 15;

/// What happened to the locks of one rank since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locks {
    /// Times taken.
    pub takes: u64,
    /// ... after waiting.
    pub waits: u64,
    /// Tries that found it held.
    pub busy: u64,
    /// Ticks held, in all holds that were not long.
    pub ticks: u64,
    /// Holds of more than 32768 ticks: the holder was interrupted, or made a system call.
    pub long: u64,
}

/// One rank's counters, on lines of their own.
#[repr(align(128))]
struct Counters {
    takes: Plain,
    waits: Plain,
    busy: Plain,
    ticks: Plain,
    long: Plain,
}

static COUNTERS: [Counters; 16] = [const {
    Counters { takes: Plain::new(0), waits: Plain::new(0), busy: Plain::new(0), ticks: Plain::new(0), long: Plain::new(0) }
}; 16];

/// Reads the counters of a rank.
#[must_use]
pub fn locks(rank: Rank) -> Locks {
    let counters = &COUNTERS[rank as usize];
    Locks {
        takes: counters.takes.load(Relaxed),
        waits: counters.waits.load(Relaxed),
        busy: counters.busy.load(Relaxed),
        ticks: counters.ticks.load(Relaxed),
        long: counters.long.load(Relaxed),
    }
}

/// Part of a lock: when it was taken.
#[derive(Debug)]
pub(super) struct Tally {
    since: Plain,
}

impl Tally {
    pub(super) const fn new() -> Self {
        Self { since: Plain::new(0) }
    }

    /// The lock was taken.
    pub(super) fn took(&self, rank: u8) {
        COUNTERS[rank as usize].takes.fetch_add(1, Relaxed);
        self.since.store(ticks(), Relaxed);
    }

    /// How long it has been held: before it is released.
    pub(super) fn held(&self) -> u64 {
        ticks().saturating_sub(self.since.load(Relaxed))
    }
}

/// A lock was released that had been held for so long.
pub(super) fn released(rank: u8, held: u64) {
    let counters = &COUNTERS[rank as usize];
    if held > LONG {
        counters.long.fetch_add(1, Relaxed)
    } else {
        counters.ticks.fetch_add(held, Relaxed)
    };
}

/// A lock has to be waited for.
pub(super) fn waits(rank: u8) {
    COUNTERS[rank as usize].waits.fetch_add(1, Relaxed);
}

/// A lock that was tried is held.
pub(super) fn busy(rank: u8) {
    COUNTERS[rank as usize].busy.fetch_add(1, Relaxed);
}

/// Time stamp counter; elsewhere nanoseconds.
#[must_use]
pub fn ticks() -> u64 {
    clock::ticks()
}

#[cfg(target_arch = "x86_64")]
mod clock {
    pub(super) fn ticks() -> u64 {
        // SAFETY: every x86-64 processor has it, and systems leave it to programs.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod clock {
    pub(super) fn ticks() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is valid for the write.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::sync::Lock;

    /// The one test here that takes locks of this rank.
    type Counted = Lock<(), { Rank::Huge.of() }>;

    #[test]
    fn takes_and_refusals_are_counted() {
        let lock = Counted::new(());
        let before = locks(Rank::Huge);
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        drop(lock.try_lock());
        let after = locks(Rank::Huge);
        assert!(after.takes >= before.takes + 2 && after.busy > before.busy && after.ticks > before.ticks);
    }

    #[test]
    fn a_line_moves_when_another_cpu_writes_it() {
        let word = AtomicU64::new(0);
        let line = line!() + 1;
        let write = || word.fetch_add(1, Relaxed);
        let counts = || {
            let mut found = (0, 0);
            for_each_site(|site| {
                if site.file.ends_with("count/mod.rs") && site.line == line {
                    found = (found.0 + site.writes, found.1 + site.moved);
                }
            });
            found
        };
        lines::as_cpu(1, write);
        lines::as_cpu(1, write);
        assert_eq!(counts(), (2, 0), "nobody else wrote it");
        lines::as_cpu(2, write);
        lines::as_cpu(1, write);
        assert_eq!(counts(), (4, 2));
    }
}
