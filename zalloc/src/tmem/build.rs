//! How a store is made.

use super::backing::{Backing, File, Found};
use super::error::BuildError;
use super::page::Place;
use super::pools::Pools;
use super::shard::Shard;
use super::{Part, Tmem};
use crate::pool::{Pool, Settings};
use kmem_base::source::{OsSource, PageSource};
use kmem_base::sync::{AtomicU64, Lock, MODEL, Ordering};
use std::hash::RandomState;
use std::vec::Vec;

/// Most shards of the index.
const MOST: usize = if MODEL { 1 } else { 64 };

/// Settings of a store.
#[derive(Debug)]
pub struct Builder<S: PageSource = OsSource> {
    pool: Settings,
    source: S,
    shards: usize,
    backing: Option<Backing>,
}

impl Tmem {
    /// A store over a pool of these settings.
    #[must_use]
    pub fn builder(pool: Settings) -> Builder {
        Builder { pool, source: OsSource, shards: 0, backing: None }
    }
}

impl<S: PageSource> Builder<S> {
    /// Shards of the index, a power of two: each evicts its own least recently used pages. By default four for each worker of the pool,
    /// or CPU.
    #[must_use]
    pub fn shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// Where cold persistent pages go.
    #[must_use]
    pub fn backing(self, backing: Backing) -> Self {
        Self { backing: Some(backing), ..self }
    }

    /// Memory for the compressed pages from another source.
    #[must_use]
    pub fn source<T: PageSource>(self, source: T) -> Builder<T> {
        Builder { source, pool: self.pool, shards: self.shards, backing: self.backing }
    }

    /// The store, with the pages of its backing file.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Tmem<S>, BuildError> {
        let pool = Pool::with_source(self.pool, self.source).map_err(BuildError::Pool)?;
        let workers = if self.pool.workers == 0 { crate::pool::cpus() } else { self.pool.workers };
        let shards = if self.shards == 0 { 4 * workers } else { self.shards };
        let shards = shards.checked_next_power_of_two().unwrap_or(MOST).min(MOST);
        let mut parts = Vec::new();
        parts.try_reserve_exact(shards).map_err(|_| BuildError::Memory)?;
        parts.extend((0..shards).map(|_| Part(Lock::new(Shard::new()))));
        let file = self.backing.map(|backing| File::new(backing, &self.pool)).transpose().map_err(BuildError::Backing)?;
        let recover = file.as_ref().is_some_and(|(_, recover)| *recover);
        let store = Tmem {
            pool,
            parts,
            hasher: RandomState::new(),
            pools: Pools::new(),
            file: file.map(|(file, _)| file),
            versions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            turn: AtomicU64::new(0),
        };
        if recover {
            store.recover();
        }
        Ok(store)
    }
}

impl<S: PageSource> Tmem<S> {
    /// Takes over the pages of the file.
    fn recover(&self) {
        let Some(file) = &self.file else { return };
        file.scan(|found| self.adopt(file, &found));
    }

    /// Adds one. False if that cannot be, or if there is a newer one of its name.
    fn adopt(&self, file: &File, found: &Found) -> bool {
        let Found { identity, unit, meta } = *found;
        if !self.pool.settings().shape.takes(meta.len()) || meta.level() >= self.pool.settings().codecs.len() {
            return false;
        }
        let Some(pool) = self.pools.found(identity.uuid) else { return false };
        let name = self.name(pool, identity.oid);
        let older = {
            let mut shard = self.part(&name).0.lock();
            let known = shard.find(&name, identity.index).map(|id| (id, *shard.pages.get(id)));
            if known.is_some_and(|(_, page)| page.version >= identity.version) {
                return false;
            }
            if let Some((id, _)) = known {
                shard.remove(id);
            }
            if shard.insert(&name, identity.index, Place::File { unit, meta }, identity.version).is_none() {
                return false;
            }
            known.map(|(_, page)| page.place)
        };
        if let Some(Place::File { unit, meta }) = older {
            file.release(unit, meta);
        }
        // Relaxed: there is one thread still.
        self.versions.fetch_max(identity.version.0, Ordering::Relaxed);
        true
    }
}
