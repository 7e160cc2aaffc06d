//! A keyed store with the contract of the kernel's transcendent memory (theory 5).
//!
//! ```
//! use kmem_zalloc::pool::Settings;
//! use kmem_zalloc::tmem::{Lifetime, Oid, Sharing, Tmem};
//!
//! let store = Tmem::builder(Settings::pages()).build()?;
//! let pool = store.create(Lifetime::Persistent, Sharing::Private)?;
//! let file = Oid([17, 0, 0]);
//! store.put(pool, file, 3, &[b'x'; 4096])?;
//!
//! let mut page = [0; 4096];
//! assert_eq!(store.get(pool, file, 3, &mut page)?, Some(4096));
//! assert_eq!(page, [b'x'; 4096]);
//! assert_eq!(store.flush_object(pool, file), 1);
//! assert_eq!(store.get(pool, file, 3, &mut page)?, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backing;
mod build;
mod check;
mod error;
mod fetch;
mod idle;
mod key;
mod list;
#[cfg(all(test, loom))]
mod loom_models;
mod page;
mod pools;
mod pressure;
mod shard;
mod slots;
mod stats;

pub use backing::{Backing, Storage};
pub use build::Builder;
pub use error::{BuildError, GetError, PoolError, PutError};
pub use key::{Lifetime, Oid, PoolId, Sharing, Uuid};
pub use stats::{TmemStats, Written};

use crate::pool::{Meta, Pool, StoreError};
use backing::{File, Identity};
use core::hash::BuildHasher;
use kmem_base::source::{OsSource, PageSource};
use kmem_base::sync::{AtomicU64, Guard, Lock, MODEL, Ordering, relax};
use page::{Access, Place, Version};
use pools::Pools;
use shard::{Name, Shard};
use std::hash::RandomState;
use std::vec::Vec;

/// Pools of one store at most.
pub const MOST_POOLS: usize = if MODEL { 2 } else { 256 };
/// Rank of the lock of the table of pools: below all others (theory 7).
const POOLS: u8 = 0;
/// Rank of the locks of shards and of the file's units. They are never held together, nor while anything is compressed, freed, read or
/// written; but the global allocator is called under them, so that its ranks are above.
const KEYS: u8 = 1;

/// On lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Part(Lock<Shard, { KEYS }>);

/// The store. All methods may be called by many threads at once.
#[derive(Debug)]
pub struct Tmem<S: PageSource = OsSource> {
    pool: Pool<S>,
    parts: Vec<Part>,
    hasher: RandomState,
    pools: Pools,
    file: Option<File>,
    /// The last version given.
    versions: AtomicU64,
    /// Puts refused.
    refused: AtomicU64,
    /// Whose turn it is to evict, or to be written.
    turn: AtomicU64,
}

impl<S: PageSource> Tmem<S> {
    /// A new pool, or one more user of a shared one.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn create(&self, lifetime: Lifetime, sharing: Sharing) -> Result<PoolId, PoolError> {
        self.pools.create(lifetime, sharing)
    }

    /// One user of the pool less; with the last one its pages are gone. Returns how many there were; nothing if there is no such pool.
    pub fn destroy(&self, pool: PoolId) -> Option<usize> {
        if !self.pools.destroy(pool)? {
            return Some(0);
        }
        let mut count = 0;
        for part in &self.parts {
            while self.take(part, |shard| shard.page_of_pool(pool), |counts| counts.flushed += 1).is_some() {
                count += 1;
            }
        }
        self.pools.buried(pool);
        Some(count)
    }

    /// Puts a copy of a page, which takes the place of an older one. If this fails, the older one is gone, too (theory 5.2).
    ///
    /// # Errors
    /// [`PutError`].
    pub fn put(&self, pool: PoolId, oid: Oid, index: u32, data: &[u8]) -> Result<(), PutError> {
        if !self.pools.is_alive(pool) {
            return Err(PutError::NoPool);
        }
        let name = self.name(pool, oid);
        let put = self.store(data).map_err(PutError::Store).and_then(|handle| {
            let put = self.bind(&name, index, handle);
            put.inspect_err(|_| self.discard(handle))
        });
        if put.is_err() {
            // Relaxed: a count.
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.flush(&name, index);
        }
        put
    }

    /// Gives what was stored its name.
    fn bind(&self, name: &Name, index: u32, handle: crate::pool::Handle) -> Result<(), PutError> {
        let part = self.part(name);
        let mut round = 0;
        loop {
            let mut shard = part.0.lock();
            if !self.pools.is_alive(name.pool) {
                return Err(PutError::NoPool);
            }
            let version = self.next_version();
            let Some(id) = shard.find(name, index) else {
                shard.insert(name, index, Place::Memory(handle), version).ok_or(PutError::Memory)?;
                shard.counts.puts += 1;
                return Ok(());
            };
            shard = match shard.pages.get_mut(id).access() {
                Access::Now(old) => {
                    shard.counts.puts += 1;
                    shard.counts.replaced += 1;
                    shard.replace(id, handle, version);
                    drop(shard);
                    self.discard(old);
                    return Ok(());
                }
                Access::Release { unit, meta } => self.release(part, shard, unit, meta),
                Access::Wait => {
                    drop(shard);
                    relax(&mut round);
                    continue;
                }
            };
            shard.counts.puts += 1;
            shard.counts.replaced += 1;
            shard.replace(id, handle, version);
            return Ok(());
        }
    }

    /// Removes a page. True if there was one.
    pub fn flush_page(&self, pool: PoolId, oid: Oid, index: u32) -> bool {
        self.pools.is_alive(pool) && self.flush(&self.name(pool, oid), index)
    }

    fn flush(&self, name: &Name, index: u32) -> bool {
        self.take(self.part(name), |shard| shard.find(name, index), |counts| counts.flushed += 1).is_some()
    }

    /// Removes all pages of an object, and returns how many there were.
    pub fn flush_object(&self, pool: PoolId, oid: Oid) -> usize {
        if !self.pools.is_alive(pool) {
            return 0;
        }
        let name = self.name(pool, oid);
        let mut count = 0;
        while self.take(self.part(&name), |shard| shard.page_of_object(&name), |counts| counts.flushed += 1).is_some() {
            count += 1;
        }
        count
    }

    /// Takes the page away that `pick` finds, and returns its stored bytes. Waits for whoever is at it.
    fn take(&self, part: &Part, pick: impl Fn(&Shard) -> Option<u32>, count: impl Fn(&mut stats::Counts)) -> Option<usize> {
        let mut round = 0;
        loop {
            let mut shard = part.0.lock();
            let id = pick(&shard)?;
            match shard.pages.get_mut(id).access() {
                Access::Now(handle) => {
                    shard.remove(id);
                    count(&mut shard.counts);
                    drop(shard);
                    self.discard(handle);
                    return Some(handle.stored_len());
                }
                Access::Release { unit, meta } => {
                    let mut shard = self.release(part, shard, unit, meta);
                    shard.remove(id);
                    count(&mut shard.counts);
                    return Some(meta.stored());
                }
                Access::Wait => {
                    drop(shard);
                    relax(&mut round);
                }
            }
        }
    }

    /// Makes a page's record invalid, without the lock. The page is there afterwards, as nobody else may touch it meanwhile.
    fn release<'a>(&self, part: &'a Part, shard: Guard<'a, Shard, { KEYS }>, unit: u32, meta: Meta) -> Guard<'a, Shard, { KEYS }> {
        drop(shard);
        if let Some(file) = &self.file {
            file.release(unit, meta);
        }
        part.0.lock()
    }

    /// Frees what has no name any more. Nobody else frees it; a reader that is at it just now is done with before its memory goes.
    fn discard(&self, handle: crate::pool::Handle) {
        let freed = self.pool.remove(handle);
        debug_assert!(freed.is_ok());
    }

    fn name(&self, pool: PoolId, oid: Oid) -> Name {
        // A model is the same in each execution.
        let hash = if MODEL { 0 } else { self.hasher.hash_one((pool, oid)) };
        Name { pool, oid, hash }
    }

    fn part(&self, name: &Name) -> &Part {
        &self.parts[(name.hash >> 32) as usize & (self.parts.len() - 1)]
    }

    fn next_version(&self) -> Version {
        // Relaxed: only has to be another one; the shard's lock orders those of one page.
        Version(self.versions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn identity(&self, shard: &Shard, id: u32, uuid: Uuid) -> Identity {
        let page = shard.pages.get(id);
        Identity { uuid, oid: shard.owner(id).oid, index: page.index, version: page.version }
    }

    /// The compressed pool behind it: to be looked at and compacted, not to be stored into.
    #[must_use]
    pub fn pool(&self) -> &Pool<S> {
        &self.pool
    }

    /// What it has done, and holds.
    #[must_use]
    pub fn stats(&self) -> TmemStats {
        let (mut counts, mut pages, mut bytes) = (stats::Counts::default(), 0, 0);
        for part in &self.parts {
            let shard = part.0.lock();
            counts += shard.counts;
            pages += shard.pages.live();
            bytes += shard.bytes() + size_of::<Part>();
        }
        let stats::Counts { puts, replaced, hits, hits_in_file, misses, lost, flushed, evicted, written, unwritten } = counts;
        TmemStats {
            puts,
            replaced,
            refused: self.refused.load(Ordering::Relaxed),
            hits,
            hits_in_file,
            misses,
            lost,
            flushed,
            evicted,
            written,
            unwritten,
            pages,
            pools: self.pools.count(),
            index_bytes: bytes + self.file.as_ref().map_or(0, File::bytes),
            file_bytes: self.file.as_ref().map_or(0, File::used),
        }
    }
}

impl From<StoreError> for PutError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
