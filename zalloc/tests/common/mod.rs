//! A pool, and beside it what it should hold.

#![allow(dead_code, reason = "each test uses some of it")]

use kmem_base::source::PageSource;
use kmem_zalloc::{AllocError, Budget, Handle, HandleError, ReadGuard, Zspool};
use std::collections::HashMap;

/// One thing to do. `which` chooses among what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Insert { size: usize, seed: u8 },
    Alloc { size: usize },
    Free { which: u16 },
    Write { which: u16, len: usize, seed: u8 },
    Read { which: u16 },
    Pin { which: u16 },
    Unpin { which: u16 },
    Stale { which: u16 },
    Invent { bits: u64 },
    Compact { budget: usize },
    CompactAll,
    Punch,
    Trim,
}

/// Bytes that tell objects, and places in them, apart.
pub(crate) fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ seed ^ (at >> 8) as u8).collect()
}

pub(crate) struct World<'a, S: PageSource> {
    pub(crate) pool: &'a Zspool<S>,
    pub(crate) live: Vec<Handle>,
    pub(crate) contents: HashMap<Handle, Vec<u8>>,
    pub(crate) dead: Vec<Handle>,
    pub(crate) guards: Vec<(Handle, ReadGuard<'a>, Vec<u8>)>,
    /// Whether the system may refuse.
    pub(crate) refusals: usize,
}

impl<'a, S: PageSource> World<'a, S> {
    pub(crate) fn new(pool: &'a Zspool<S>) -> Self {
        Self { pool, live: Vec::new(), contents: HashMap::new(), dead: Vec::new(), guards: Vec::new(), refusals: 0 }
    }

    pub(crate) fn run(&mut self, ops: &[Op]) {
        for op in ops {
            self.apply(*op);
            self.pool.check().unwrap();
        }
        self.finish();
    }

    fn choose(&self, which: u16) -> Option<Handle> {
        (!self.live.is_empty()).then(|| self.live[which as usize % self.live.len()])
    }

    fn pins(&self, handle: Handle) -> usize {
        self.guards.iter().filter(|guard| guard.0 == handle).count()
    }

    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Insert { size, seed } => self.insert(size, seed),
            Op::Alloc { size } => match self.pool.alloc(size) {
                Ok(handle) => {
                    let found = self.pool.read(handle).unwrap().to_vec();
                    assert_eq!(found.len(), size);
                    self.add(handle, found);
                }
                Err(error) => self.refused(error),
            },
            Op::Free { which } => {
                if let Some(handle) = self.choose(which) {
                    self.free(handle);
                }
            }
            Op::Write { which, len, seed } => self.write(which, &bytes(len, seed)),
            Op::Read { which } => {
                if let Some(handle) = self.choose(which) {
                    self.verify(handle);
                }
            }
            Op::Pin { which } => {
                if let Some(handle) = self.choose(which) {
                    let guard = self.pool.read(handle).unwrap();
                    self.guards.push((handle, guard, self.contents[&handle].clone()));
                }
            }
            Op::Unpin { which } => self.unpin(which),
            Op::Stale { which } => self.stale(which),
            Op::Invent { bits } => self.invent(bits),
            Op::Compact { budget } => {
                self.pool.compact(Budget::objects(budget));
            }
            Op::CompactAll => {
                assert!(self.pool.compact(Budget::UNLIMITED).done || self.pool.stats().shards == 0);
            }
            Op::Punch => {
                self.pool.punch();
            }
            Op::Trim => {
                self.pool.trim();
            }
        }
    }

    fn refused(&mut self, error: AllocError) {
        assert_ne!(error, AllocError::Size);
        self.refusals += 1;
    }

    pub(crate) fn insert(&mut self, size: usize, seed: u8) {
        let bytes = bytes(size, seed);
        match self.pool.insert(&bytes) {
            Ok(handle) => self.add(handle, bytes),
            Err(error) => self.refused(error),
        }
    }

    fn add(&mut self, handle: Handle, bytes: Vec<u8>) {
        assert!(self.contents.insert(handle, bytes).is_none(), "no two objects have one handle");
        assert!(!self.dead.contains(&handle), "no handle comes twice");
        self.live.push(handle);
    }

    pub(crate) fn free(&mut self, handle: Handle) {
        self.verify(handle);
        self.pool.free(handle).unwrap();
        self.contents.remove(&handle);
        self.live.retain(|other| *other != handle);
        self.dead.push(handle);
        assert_eq!(self.pool.free(handle), Err(HandleError::Stale));
    }

    fn write(&mut self, which: u16, bytes: &[u8]) {
        let Some(handle) = self.choose(which) else { return };
        let pinned = self.pins(handle) > 0;
        let old = self.contents.get_mut(&handle).unwrap();
        let fits = bytes.len() <= old.len();
        let expected = if pinned {
            Err(HandleError::Pinned)
        } else if fits {
            Ok(())
        } else {
            Err(HandleError::TooLong)
        };
        assert_eq!(self.pool.write(handle, bytes), expected);
        if expected.is_ok() {
            old[..bytes.len()].copy_from_slice(bytes);
        }
        self.verify(handle);
    }

    fn unpin(&mut self, which: u16) {
        if !self.guards.is_empty() {
            let (_, guard, bytes) = self.guards.swap_remove(which as usize % self.guards.len());
            assert_eq!(&*guard, &bytes[..], "as when it was pinned, even if freed since");
        }
    }

    fn stale(&self, which: u16) {
        if let Some(handle) = self.dead.get(which as usize % self.dead.len().max(1)) {
            assert_eq!(self.pool.read(*handle).err(), Some(HandleError::Stale));
            assert_eq!(self.pool.write(*handle, &[1]), Err(HandleError::Stale));
            assert_eq!(self.pool.size(*handle), Err(HandleError::Stale));
            assert_eq!(self.pool.free(*handle), Err(HandleError::Stale));
        }
    }

    fn invent(&self, bits: u64) {
        // Some near those that there are.
        let near = self.live.first().map_or(bits, |handle| handle.to_bits() ^ (1 << (bits % 64)));
        for bits in [bits, near] {
            let Some(handle) = Handle::from_bits(bits) else { continue };
            match self.pool.read(handle) {
                Ok(guard) => assert_eq!(&*guard, &self.contents[&handle][..]),
                Err(error) => assert!(error == HandleError::Stale && !self.contents.contains_key(&handle)),
            }
        }
    }

    pub(crate) fn verify(&self, handle: Handle) {
        let expected = &self.contents[&handle];
        assert_eq!(self.pool.size(handle), Ok(expected.len()));
        let guard = self.pool.read(handle).unwrap();
        assert_eq!(&*guard, &expected[..]);
        assert_eq!(guard.as_ptr().addr() % 16, 0);
    }

    /// Everything is there; then nothing is left.
    pub(crate) fn finish(&mut self) {
        self.live.iter().for_each(|handle| self.verify(*handle));
        self.pool.check().unwrap();
        let dying = self.guards.iter().filter(|guard| !self.contents.contains_key(&guard.0));
        let dying: std::collections::HashSet<_> = dying.map(|guard| guard.0).collect();
        let stats = self.pool.stats();
        assert_eq!(stats.objects, self.live.len() + dying.len());
        let held: usize = self.contents.values().map(Vec::len).sum();
        assert!(stats.requested >= held && (!dying.is_empty() || stats.requested == held));
        while !self.guards.is_empty() {
            self.unpin(0);
        }
        for handle in self.live.clone() {
            self.free(handle);
        }
        self.pool.check().unwrap();
        let stats = self.pool.stats();
        assert_eq!((stats.objects, stats.requested, stats.spans), (0, 0, 0));
    }
}
