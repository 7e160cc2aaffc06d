//! A store beside a map of what it must say. Used by the tests and by the fuzz target.

#![allow(unreachable_pub)]

use kmem_zalloc::codec::{AnyCodec, Lz4};
use kmem_zalloc::pool::{Recompress, Settings};
use kmem_zalloc::tmem::{Backing, GetError, Lifetime, Oid, PoolId, Sharing, Storage, Tmem, Uuid};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

/// Longest page.
pub const LONGEST: usize = 700;
/// Objects of a pool.
pub const OBJECTS: u64 = 24;
/// Pages of an object.
pub const PAGES: u32 = 12;

/// What can be done.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Put {
        pool: usize,
        object: u64,
        index: u32,
        len: usize,
        kind: Kind,
    },
    Get {
        pool: usize,
        object: u64,
        index: u32,
    },
    FlushPage {
        pool: usize,
        object: u64,
        index: u32,
    },
    FlushObject {
        pool: usize,
        object: u64,
    },
    /// Destroys the pool, and creates it anew.
    Renew {
        pool: usize,
    },
    Evict(usize),
    Writeback(usize),
    Recompress(usize),
    Compact(usize),
    Check,
}

/// What the data is like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Compressible,
    Noise,
    Filled,
}

/// A storage in memory, which keeps what it has when the store that uses it is gone.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Vec<u8>>>);

impl Storage for Disk {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..to.len()));
        to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let end = offset as usize + from.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(from);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

impl Disk {
    /// Its bytes, to be damaged.
    #[allow(dead_code)]
    pub fn with<R>(&self, damage: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        damage(&mut self.0.lock().unwrap())
    }
}

/// What was put last.
#[derive(Clone, Copy, Debug)]
struct Page {
    stamp: u64,
    len: usize,
    kind: Kind,
}

/// Bytes of a page that nobody else has.
fn fill(data: &mut [u8], stamp: u64, kind: Kind) {
    match kind {
        Kind::Filled => data.as_chunks_mut().0.fill(stamp.to_le_bytes()),
        Kind::Compressible => {
            for (n, word) in data.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                *word = (stamp ^ (n as u64 / 5)).to_le_bytes();
            }
        }
        Kind::Noise => {
            let mut state = stamp.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            for word in data.as_chunks_mut::<8>().0 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *word = (state ^ state >> 29).to_le_bytes();
            }
        }
    }
    let tail = data.len() / 8 * 8;
    data[tail..].fill(stamp as u8);
}

/// Lifetimes and names of the pools: exclusive, shared ephemeral, persistent, shared persistent.
pub const POOLS: [(Lifetime, Sharing); 4] = [
    (Lifetime::Ephemeral, Sharing::Private),
    (Lifetime::Ephemeral, Sharing::Shared(Uuid([1, 1]))),
    (Lifetime::Persistent, Sharing::Private),
    (Lifetime::Persistent, Sharing::Shared(Uuid([2, 2]))),
];

/// The store and the map.
pub struct Model {
    pub store: Arc<Tmem>,
    pools: Vec<PoolId>,
    pages: HashMap<(usize, u64, u32), Page>,
    /// Part of each object's name: so that several models share a store without sharing a page.
    owner: u64,
    stamp: u64,
    expected: Vec<u8>,
    found: Vec<u8>,
    pub hits: u64,
    pub misses: u64,
    pub refused: u64,
}

/// A small store: pages of up to [`LONGEST`] bytes, `limit` bytes in memory and `file` on `disk`.
pub fn store(limit: usize, disk: Option<(Disk, u64)>) -> Tmem {
    const CODECS: &[&dyn AnyCodec] = &[&Lz4, &Lz4];
    let settings = Settings { limit, workers: 2, codecs: CODECS, worthwhile: 900, ..Settings::buffers(LONGEST) };
    let builder = Tmem::builder(settings).shards(4);
    match disk {
        Some((disk, most)) => builder.backing(Backing::create(disk, most)),
        None => builder,
    }
    .build()
    .unwrap()
}

impl Model {
    pub fn new(store: Arc<Tmem>, owner: u64) -> Self {
        let pools = POOLS.iter().map(|(lifetime, sharing)| store.create(*lifetime, *sharing).unwrap()).collect();
        let (expected, found) = (Vec::new(), vec![0; LONGEST]);
        Self { store, pools, pages: HashMap::new(), owner, stamp: owner << 40, expected, found, hits: 0, misses: 0, refused: 0 }
    }

    fn oid(&self, object: u64) -> Oid {
        Oid([object, self.owner, !object])
    }

    /// Does it, and compares.
    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Put { pool, object, index, len, kind } => self.put(pool, object, index, Page { stamp: 0, len, kind }),
            Op::Get { pool, object, index } => self.get(pool, object, index),
            Op::FlushPage { pool, object, index } => {
                let known = self.pages.remove(&(pool, object, index)).is_some();
                let was = self.store.flush_page(self.pools[pool], self.oid(object), index);
                assert!(known || !was, "a page that was never put was flushed");
                assert!(was || !known || self.pools[pool].is_ephemeral(), "a persistent page was lost");
            }
            Op::FlushObject { pool, object } => {
                let before = self.pages.len();
                self.pages.retain(|(p, o, _), _| (*p, *o) != (pool, object));
                let count = self.store.flush_object(self.pools[pool], self.oid(object));
                self.compare_counts(pool, before - self.pages.len(), count);
            }
            Op::Renew { pool } => self.renew(pool),
            Op::Evict(most) => drop(self.store.evict(most)),
            Op::Writeback(most) => drop(self.store.writeback(most)),
            Op::Recompress(most) => drop(self.store.recompress(most, Recompress::up_to(1))),
            Op::Compact(objects) => drop(self.store.pool().spool().compact(kmem_zalloc::Budget::objects(objects))),
            Op::Check => self.store.check().unwrap(),
        }
    }

    fn compare_counts(&self, pool: usize, known: usize, flushed: usize) {
        assert!(flushed == known || flushed < known && self.pools[pool].is_ephemeral(), "{flushed} of {known} flushed");
    }

    fn renew(&mut self, pool: usize) {
        let before = self.pages.len();
        let id = self.pools[pool];
        let Some(count) = self.store.destroy(id) else { panic!("the pool was gone") };
        let (lifetime, sharing) = POOLS[pool];
        let again = self.store.create(lifetime, sharing).unwrap();
        // With other users a shared pool stays as it is.
        if again != id {
            self.pages.retain(|(p, ..), _| *p != pool);
            self.compare_counts(pool, before - self.pages.len(), count);
            assert_eq!(self.store.get(id, self.oid(0), 0, &mut self.found), Err(GetError::NoPool));
        }
        self.pools[pool] = again;
    }

    fn put(&mut self, pool: usize, object: u64, index: u32, page: Page) {
        self.stamp += 1;
        let page = Page { stamp: self.stamp, ..page };
        self.expected.resize(page.len, 0);
        fill(&mut self.expected, page.stamp, page.kind);
        match self.store.put(self.pools[pool], self.oid(object), index, &self.expected) {
            Ok(()) => {
                self.pages.insert((pool, object, index), page);
            }
            Err(_) => {
                self.refused += 1;
                self.pages.remove(&(pool, object, index));
            }
        }
    }

    fn get(&mut self, pool: usize, object: u64, index: u32) {
        let id = self.pools[pool];
        let got = self.store.get(id, self.oid(object), index, &mut self.found).expect("no error");
        let exclusive = id.is_ephemeral() && !id.is_shared();
        let known =
            if exclusive { self.pages.remove(&(pool, object, index)) } else { self.pages.get(&(pool, object, index)).copied() };
        match (got, known) {
            (Some(len), Some(page)) => {
                self.expected.resize(page.len, 0);
                fill(&mut self.expected, page.stamp, page.kind);
                assert!(self.found[..len] == self.expected[..], "a stale page: {pool} {object} {index}");
                self.hits += 1;
            }
            (Some(_), None) => panic!("a page that should not be there: {pool} {object} {index}"),
            (None, Some(_)) if !id.is_ephemeral() => panic!("a persistent page was lost: {pool} {object} {index}"),
            (None, _) => {
                self.pages.remove(&(pool, object, index));
                self.misses += 1;
            }
        }
    }

    /// All that is known to be there, compared.
    pub fn compare_all(&mut self) {
        let mut keys: Vec<_> = self.pages.keys().copied().collect();
        keys.sort_unstable();
        for (pool, object, index) in keys {
            self.get(pool, object, index);
        }
    }
}

/// An operation out of a word, as frequent as it is of use.
pub fn decode(word: u64) -> Op {
    let part = |at: u32, end: u64| ((word >> at & 0xFFFF) * end) >> 16;
    let (pool, object, index) = (part(0, 4) as usize, part(16, OBJECTS), part(32, PAGES.into()) as u32);
    match word >> 48 & 0x3FF {
        0..400 => {
            let kind = [Kind::Compressible, Kind::Compressible, Kind::Noise, Kind::Filled][(word >> 62) as usize];
            Op::Put { pool, object, index, len: (part(24, LONGEST as u64 + 1)) as usize, kind }
        }
        400..900 => Op::Get { pool, object, index },
        900..990 => Op::FlushPage { pool, object, index },
        990..1001 => Op::FlushObject { pool, object },
        // One in sixteen of these.
        1001 if word >> 58 & 15 == 0 => Op::Renew { pool },
        1001..1008 => Op::Evict(index as usize),
        1008..1016 => Op::Writeback(index as usize * 2),
        1016..1018 => Op::Recompress(object as usize),
        1018..1023 => Op::Compact(object as usize * 8),
        _ => Op::Check,
    }
}
