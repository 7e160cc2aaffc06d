//! A cache of values in compressed memory (theory 6).
//!
//! ```
//! use kmem_zalloc::cache::CompressedCache;
//!
//! let cache: CompressedCache<(u32, u64), Vec<u8>> = CompressedCache::new(1 << 20, 64 << 10)?;
//! let block = vec![b'a'; 10_000];
//! assert!(cache.insert(&(3, 0), &block));
//! assert_eq!(cache.get(&(3, 0)), Some(block));
//! assert_eq!(cache.get(&(3, 1)), None);
//! assert!(cache.stats().memory_bytes < 100_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::pool::{Incompressible, Settings};
use crate::tmem::{BuildError, Lifetime, Oid, PoolId, Sharing, Tmem, Uuid};
use core::hash::{BuildHasher, Hash};
use core::marker::PhantomData;
use kmem_base::source::{OsSource, PageSource};
use std::hash::RandomState;
use std::vec::Vec;

/// Keys to bytes, the bytes compressed, the least recently used dropped when the limit is reached. All methods may be called by many
/// threads at once.
///
/// A key is not kept: a value is found by 192 bits of hash under three random seeds of the cache's own. So neither `Hash` nor any
/// other code of the key's runs under a lock.
#[derive(Debug)]
pub struct CompressedCache<K: ?Sized, V: ?Sized, S: PageSource = OsSource> {
    store: Tmem<S>,
    pool: PoolId,
    seeds: [RandomState; 3],
    _types: PhantomData<fn(&K, &V)>,
}

/// How a cache does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheStats {
    /// Values held.
    pub values: usize,
    /// Their bytes.
    pub value_bytes: usize,
    /// Memory for that: compressed bytes with what is lost between them, handles, the index, and the codec's working memory.
    pub memory_bytes: usize,
    /// Gets that found a value.
    pub hits: u64,
    /// Gets that found none.
    pub misses: u64,
    /// Values dropped to make room.
    pub evicted: u64,
    /// Values that were not taken.
    pub refused: u64,
}

impl CacheStats {
    /// Share of gets that found a value.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        self.hits as f64 / ((self.hits + self.misses) as f64).max(1.0)
    }
}

impl<K: ?Sized, V: ?Sized> CompressedCache<K, V> {
    /// A cache that has at most `limit` bytes of memory for compressed values, each of up to `longest` bytes before. The index comes on top
    /// of the limit: about 130 bytes a value.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn new(limit: usize, longest: usize) -> Result<Self, BuildError> {
        let settings = Settings { limit, incompressible: Incompressible::KeepRaw, ..Settings::buffers(longest) };
        Self::with_settings(settings, OsSource)
    }
}

impl<K: ?Sized, V: ?Sized, S: PageSource> CompressedCache<K, V, S> {
    /// A cache with other settings, such as another codec, or no values that do not compress; and of memory from `source`.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn with_settings(settings: Settings, source: S) -> Result<Self, BuildError> {
        let store = Tmem::builder(settings).source(source).build()?;
        let pool = store.create(Lifetime::Ephemeral, Sharing::Shared(Uuid([1, 0]))).map_err(|_| BuildError::Memory)?;
        Ok(Self { store, pool, seeds: [RandomState::new(), RandomState::new(), RandomState::new()], _types: PhantomData })
    }

    /// The store behind it, with what it says about itself.
    #[must_use]
    pub fn store(&self) -> &Tmem<S> {
        &self.store
    }

    /// How it does.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let (store, pool) = (self.store.stats(), self.store.pool().stats());
        CacheStats {
            values: store.pages,
            value_bytes: pool.original_bytes,
            memory_bytes: pool.used_bytes + pool.work_bytes + store.index_bytes,
            hits: store.hits,
            misses: store.misses,
            evicted: store.evicted,
            refused: store.refused,
        }
    }
}

impl<K: Hash + ?Sized, V: AsRef<[u8]> + ?Sized, S: PageSource> CompressedCache<K, V, S> {
    fn oid(&self, key: &K) -> Oid {
        Oid(core::array::from_fn(|half| self.seeds[half].hash_one(key)))
    }

    /// Keeps a compressed copy of `value`, in the place of an older one. False if the value was not taken: too long, or it does not
    /// compress and the settings say so, or there is no memory. Then there is no value of this key.
    pub fn insert(&self, key: &K, value: &V) -> bool {
        self.store.put(self.pool, self.oid(key), 0, value.as_ref()).is_ok()
    }

    /// Writes the value of `key` to `to`, in the place of what it holds. True if there is one.
    pub fn get_into(&self, key: &K, to: &mut Vec<u8>) -> bool {
        matches!(self.store.get_vec(self.pool, self.oid(key), 0, to), Ok(Some(_)))
    }

    /// Writes the value of `key` to the beginning of `to`, and returns its length. Nothing if there is none, or it is longer than `to`.
    pub fn read(&self, key: &K, to: &mut [u8]) -> Option<usize> {
        self.store.get(self.pool, self.oid(key), 0, to).ok().flatten()
    }

    /// Drops the value of `key`. True if there was one.
    pub fn remove(&self, key: &K) -> bool {
        self.store.flush_page(self.pool, self.oid(key), 0)
    }
}

impl<K: Hash + ?Sized, V: AsRef<[u8]> + From<Vec<u8>>, S: PageSource> CompressedCache<K, V, S> {
    /// A copy of the value of `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut bytes = Vec::new();
        self.get_into(key, &mut bytes).then(|| bytes.into())
    }
}
