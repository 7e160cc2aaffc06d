//! The pool.

use super::builder::Builder;
use super::compact::{Budget, Compaction};
use super::config::KEEP_PAGES;
use super::error::{AllocError, HandleError};
use super::guard::ReadGuard;
use super::handle::Handle;
use super::shard::Shard;
use super::shards::Shards;
use super::word::{MAX_PINS, Slot, Word};
use kmem_base::source::{OsSource, PageSource};
use kmem_base::sync::relax;

/// Objects of 1 to 4096 bytes behind handles, in memory that can be compacted (theory 3).
///
/// Any thread may do anything at any time; [`Self::read`] and [`ReadGuard`] take no lock. Dropping the pool unmaps it whole.
///
/// ```
/// use kmem_zalloc::Zspool;
///
/// let pool = Zspool::new();
/// let handle = pool.insert(b"some bytes")?;
/// assert_eq!(&*pool.read(handle)?, b"some bytes");
/// pool.free(handle)?;
/// assert!(pool.read(handle).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Zspool<S: PageSource = OsSource> {
    source: S,
    shards: Shards,
}

impl Zspool {
    /// An empty pool of the system's memory, without a limit. Takes no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A pool with other settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Default for Zspool {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: PageSource> Drop for Zspool<S> {
    fn drop(&mut self) {
        self.shards.unmap(&self.source);
    }
}

impl<S: PageSource> Zspool<S> {
    pub(super) fn with(source: S, shards: usize, limit: usize) -> Self {
        Self { source, shards: Shards::new(shards, limit) }
    }

    pub(super) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Where the memory comes from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// A new object of `size` bytes, 1 to 4096, with whatever contents. O(1).
    ///
    /// # Errors
    /// [`AllocError`]; then nothing has changed.
    pub fn alloc(&self, size: usize) -> Result<Handle, AllocError> {
        self.shards.take(size, false, &self.source).map(|(_, _, handle)| handle)
    }

    /// A new object with these bytes, which are copied under no lock.
    ///
    /// # Errors
    /// [`AllocError`]; then nothing has changed.
    pub fn insert(&self, bytes: &[u8]) -> Result<Handle, AllocError> {
        let (shard, taken, handle) = self.shards.take(bytes.len(), true, &self.source)?;
        fill(shard, taken.at, bytes);
        if let Some(slot) = shard.slot(taken.slot) {
            let _ = slot.try_update(Word::yield_up);
        }
        Ok(handle)
    }

    /// Writes `bytes` to the beginning of an object. Waits for another write or a move of it to end.
    ///
    /// # Errors
    /// [`HandleError::Stale`]; [`HandleError::TooLong`]; [`HandleError::Pinned`] while it is being read.
    pub fn write(&self, handle: Handle, bytes: &[u8]) -> Result<(), HandleError> {
        let (shard, slot) = self.shards.find(handle).ok_or(HandleError::Stale)?;
        let generation = handle.generation();
        let word = settle(
            slot,
            |word| word.seize(generation),
            |word| match word.pins() {
                _ if !word.is(generation) => Some(HandleError::Stale),
                1..=MAX_PINS => Some(HandleError::Pinned),
                _ => None,
            },
        )?;
        let fits = bytes.len() <= word.size();
        if fits {
            fill(shard, word.location(), bytes);
        }
        let _ = slot.try_update(Word::yield_up);
        if fits { Ok(()) } else { Err(HandleError::TooLong) }
    }

    /// The bytes of an object, without a copy and without a lock. Waits only for a write of it to end.
    ///
    /// # Errors
    /// [`HandleError::Stale`]; [`HandleError::Pinned`] if it has 126 guards already.
    #[inline]
    pub fn read(&self, handle: Handle) -> Result<ReadGuard<'_>, HandleError> {
        let (shard, slot) = self.shards.find(handle).ok_or(HandleError::Stale)?;
        let generation = handle.generation();
        let word = settle(
            slot,
            |word| word.pin(generation),
            |word| match word.pins() {
                _ if !word.is(generation) => Some(HandleError::Stale),
                MAX_PINS => Some(HandleError::Pinned),
                _ => None,
            },
        )?;
        Ok(ReadGuard::new(shard, handle.slot(), word))
    }

    /// Frees an object. The handle ends now; the memory does, too, unless the object is being read: then with its last guard.
    ///
    /// # Errors
    /// [`HandleError::Stale`].
    pub fn free(&self, handle: Handle) -> Result<(), HandleError> {
        let (shard, slot) = self.shards.find(handle).ok_or(HandleError::Stale)?;
        let generation = handle.generation();
        let word = settle(slot, |word| word.condemn(generation), |word| (!word.is(generation)).then_some(HandleError::Stale))?;
        if word.pins() == 0 && shard.release(handle.slot()) {
            shard.give_back(KEEP_PAGES, &self.shards.quota, &self.source);
        }
        Ok(())
    }

    /// Bytes that an object was asked for with.
    ///
    /// # Errors
    /// [`HandleError::Stale`].
    pub fn size(&self, handle: Handle) -> Result<usize, HandleError> {
        let (_, slot) = self.shards.find(handle).ok_or(HandleError::Stale)?;
        let word = slot.load();
        if word.is(handle.generation()) { Ok(word.size()) } else { Err(HandleError::Stale) }
    }

    /// Bytes that [`Self::compact`] could return to the system now, if no object is being read. O(classes).
    pub fn compactable_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().compactable()).sum()
    }

    /// Moves objects together, from the emptiest spans to the fullest, and returns what becomes free to the system; then returns pages
    /// without an object. Goes on where the last call's budget ended. Others may read, write, allocate and free meanwhile; an object
    /// that is being read or written stays where it is. Shards that another thread is compacting are left to it.
    pub fn compact(&self, mut budget: Budget) -> Compaction {
        let mut sum = Compaction { done: true, ..Compaction::default() };
        for shard in self.shards.iter() {
            sum.add(shard.compact(&mut budget, &self.shards.quota, &self.source));
        }
        sum
    }

    /// Returns pages without a live object to the system, moving nothing. Returns their bytes.
    pub fn punch(&self) -> usize {
        let punched = self.shards.iter().map(|shard| {
            let _alone = shard.cursor.lock();
            shard.sweep(&mut 0, &mut Budget::UNLIMITED.clone(), &self.shards.quota, &self.source).0
        });
        punched.sum()
    }

    /// Returns to the system what can be without moving anything: [`Self::punch`], and memory kept for the next spans. Returns bytes.
    pub fn trim(&self) -> usize {
        self.punch() + self.shards.give_back(0, &self.source)
    }
}

/// Writes an object that is the caller's alone to write.
fn fill(shard: &Shard, at: super::word::Location, bytes: &[u8]) {
    let (from, to) = (bytes.as_ptr(), shard.region.object(at).as_ptr());
    // SAFETY: the object has at least so many bytes, and its word says that it is being written: nobody else touches it.
    shard.writes(at, || unsafe { to.copy_from_nonoverlapping(from, bytes.len()) });
}

/// Changes a slot's word, waiting as long as it says neither yes nor why not: for a write, or a move, to end.
#[inline]
fn settle(
    slot: &Slot,
    change: impl Fn(Word) -> Option<Word>,
    refused: impl Fn(Word) -> Option<HandleError>,
) -> Result<Word, HandleError> {
    let mut round = 0;
    loop {
        match slot.try_update(&change) {
            Ok(word) => return Ok(word),
            Err(word) => match refused(word) {
                Some(error) => return Err(error),
                None => relax(&mut round),
            },
        }
    }
}
