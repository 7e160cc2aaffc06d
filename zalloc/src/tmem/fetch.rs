//! Gets: from memory, or from the backing file.

use super::Tmem;
use super::backing::Identity;
use super::error::GetError;
use super::key::{Oid, PoolId, Uuid};
use super::page::{Access, Place};
use super::shard::Name;
use crate::pool::{Handle, Meta, Parts};
use kmem_base::source::PageSource;
use kmem_base::sync::relax;
use std::vec::Vec;

/// What a page is written to.
trait Target {
    fn has_room(&self, len: usize) -> bool;
    /// The first `len` bytes, if there are as many.
    fn bytes(&mut self, len: usize) -> Option<&mut [u8]>;
}

impl Target for &mut [u8] {
    fn has_room(&self, len: usize) -> bool {
        len <= self.len()
    }

    fn bytes(&mut self, len: usize) -> Option<&mut [u8]> {
        self.get_mut(..len)
    }
}

impl Target for &mut Vec<u8> {
    fn has_room(&self, _len: usize) -> bool {
        true
    }

    fn bytes(&mut self, len: usize) -> Option<&mut [u8]> {
        self.clear();
        self.try_reserve_exact(len).ok()?;
        self.resize(len, 0);
        Some(&mut self[..])
    }
}

impl<S: PageSource> Tmem<S> {
    /// Writes a page to the beginning of `to` and returns its length; nothing if there is none. From a private ephemeral pool the page
    /// is taken away.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn get(&self, pool: PoolId, oid: Oid, index: u32, mut to: &mut [u8]) -> Result<Option<usize>, GetError> {
        self.fetch(&self.name(pool, oid), index, &mut to)
    }

    /// The same into a vector, whose length becomes the page's.
    ///
    /// # Errors
    /// [`GetError`]; [`GetError::Short`] if the vector could not grow.
    pub fn get_vec(&self, pool: PoolId, oid: Oid, index: u32, mut to: &mut Vec<u8>) -> Result<Option<usize>, GetError> {
        self.fetch(&self.name(pool, oid), index, &mut to)
    }

    fn fetch(&self, name: &Name, index: u32, to: &mut impl Target) -> Result<Option<usize>, GetError> {
        if !self.pools.is_alive(name.pool) {
            return Err(GetError::NoPool);
        }
        let part = self.part(name);
        let mut round = 0;
        loop {
            let mut shard = part.0.lock();
            let Some(id) = shard.find(name, index) else {
                shard.counts.misses += 1;
                return Ok(None);
            };
            let page = *shard.pages.get(id);
            let len = page.meta().len();
            if !to.has_room(len) {
                return Err(GetError::Short);
            }
            if name.pool.is_exclusive()
                && let Access::Now(handle) = shard.pages.get_mut(id).access()
            {
                shard.remove(id);
                shard.counts.hits += 1;
                drop(shard);
                return self.take_out(handle, to).map(Some);
            }
            let in_file = matches!(page.place, Place::File { .. });
            shard.counts.hits += 1;
            shard.counts.hits_in_file += u64::from(in_file);
            shard.touch(id);
            let identity = self.identity(&shard, id, Uuid::NIL);
            drop(shard);
            let bytes = to.bytes(len).ok_or(GetError::Short)?;
            let read = match page.place {
                Place::Memory(handle) => self.pool.load(handle, bytes).ok(),
                Place::File { unit, meta } => self.read_back(name.pool, identity, unit, meta, bytes),
            };
            if read.is_some() {
                return Ok(read);
            }
            // It was moved, replaced or flushed just now; or it is what it was, and unreadable.
            let mut shard = part.0.lock();
            shard.counts.hits -= 1;
            shard.counts.hits_in_file -= u64::from(in_file);
            if shard.find(name, index).is_some_and(|id| shard.pages.get(id).is_unreadable(&page)) {
                shard.counts.lost += 1;
                return Err(GetError::Lost);
            }
            drop(shard);
            relax(&mut round);
        }
    }

    /// Reads a page that nobody else can find any more.
    fn take_out(&self, handle: Handle, to: &mut impl Target) -> Result<usize, GetError> {
        let read =
            to.bytes(handle.len()).ok_or(GetError::Short).and_then(|to| self.pool.load(handle, to).map_err(|_| GetError::Lost));
        self.discard(handle);
        read
    }

    fn read_back(&self, pool: PoolId, identity: Identity, unit: u32, meta: Meta, to: &mut [u8]) -> Option<usize> {
        let file = self.file.as_ref()?;
        // No name if the pool was destroyed just now: then the page is gone, too.
        let identity = Identity { uuid: self.pools.uuid(pool), ..identity };
        let mut area = self.pool.claim(meta.len());
        let Parts { packed, mut codecs, .. } = area.parts();
        let data = file.read(identity, unit, meta, packed).ok()?;
        self.pool.unpack(meta, data, &mut codecs, to).ok()
    }
}
