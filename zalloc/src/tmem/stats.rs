//! What the store has done, and holds.

use core::ops::AddAssign;

/// Counted by each shard, under its lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) puts: u64,
    pub(super) replaced: u64,
    pub(super) hits: u64,
    pub(super) hits_in_file: u64,
    pub(super) misses: u64,
    pub(super) lost: u64,
    pub(super) flushed: u64,
    pub(super) evicted: u64,
    pub(super) written: u64,
    pub(super) unwritten: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.puts += other.puts;
        self.replaced += other.replaced;
        self.hits += other.hits;
        self.hits_in_file += other.hits_in_file;
        self.misses += other.misses;
        self.lost += other.lost;
        self.flushed += other.flushed;
        self.evicted += other.evicted;
        self.written += other.written;
        self.unwritten += other.unwritten;
    }
}

/// What a store has done since it was made, and what it holds now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TmemStats {
    /// Pages accepted.
    pub puts: u64,
    /// Of those, the ones that took the place of an older copy.
    pub replaced: u64,
    /// Pages refused.
    pub refused: u64,
    /// Gets that found their page, and
    pub hits: u64,
    /// of those, the ones that found it in the backing file.
    pub hits_in_file: u64,
    /// Gets that found none.
    pub misses: u64,
    /// Gets of pages that the backing file has lost.
    pub lost: u64,
    /// Pages flushed: by page, object or pool.
    pub flushed: u64,
    /// Ephemeral pages that have vanished under pressure.
    pub evicted: u64,
    /// Pages written to the backing file.
    pub written: u64,
    /// Pages that were to be written, and could not be: it was full, or refused.
    pub unwritten: u64,
    /// Pages held, in memory or in the file.
    pub pages: usize,
    /// Pools.
    pub pools: usize,
    /// Memory of the index, in bytes: of the global allocator.
    pub index_bytes: usize,
    /// Bytes in use of the backing file, its header included.
    pub file_bytes: u64,
}

/// What a writing back has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Pages.
    pub pages: usize,
    /// Their compressed bytes.
    pub bytes: usize,
    /// True if it ended since the file was full or refused, or since there is none.
    pub failed: bool,
}
