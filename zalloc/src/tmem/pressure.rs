//! What is done when the pool is full: ephemeral pages vanish, persistent ones are written back (theory 5.4).

use super::Tmem;
use super::backing::File;
use super::key::Uuid;
use super::stats::Written;
use crate::pool::{HEADROOM, Handle, Packed, Parts, StoreError};
use crate::spool::Budget;
use kmem_base::source::PageSource;
use kmem_base::sync::Ordering;

/// Pages evicted the first time that a page finds no room; each further time twice as many.
const FIRST: usize = 4;
/// Times that a put evicts.
const ROUNDS: u32 = 8;
/// Pages that a put writes back at once.
const BATCH: usize = 32;
/// Objects that a put lets compaction look at.
const MOVES: usize = 256;

/// A page about to be written.
struct Job {
    part: usize,
    id: u32,
    handle: Handle,
    identity: super::Identity,
}

impl<S: PageSource> Tmem<S> {
    /// Stores a page, at the cost of others if need be.
    pub(super) fn store(&self, data: &[u8]) -> Result<Handle, StoreError> {
        if let Some(handle) = self.pool.store_filled(data)? {
            return Ok(handle);
        }
        loop {
            let refused = {
                let mut area = self.pool.claim(data.len());
                let packed = self.pool.pack(&mut area, data)?;
                match self.place_evicting(&packed) {
                    Err(refused @ (StoreError::Limit | StoreError::Memory)) => refused,
                    other => return other,
                }
            };
            // Without the area: writing claims one.
            if self.writeback(BATCH).pages == 0 {
                return Err(refused);
            }
            self.pool.spool().compact(Budget::objects(MOVES));
        }
    }

    /// Stores what is packed, evicting ephemeral pages as long as it is refused and there are any.
    fn place_evicting(&self, packed: &Packed<'_>) -> Result<Handle, StoreError> {
        let mut placed = self.pool.place(packed);
        for round in 0..ROUNDS {
            if !matches!(placed, Err(StoreError::Limit | StoreError::Memory)) || self.evict(FIRST << round) == 0 {
                break;
            }
            placed = self.pool.place(packed);
            if placed.is_err() {
                // The holes that the evicted have left are of other sizes: they become spans, which become others.
                self.pool.spool().compact(Budget::objects(MOVES));
                placed = self.pool.place(packed);
            }
        }
        placed
    }

    /// Drops up to `most` ephemeral pages, those of each shard that were used least recently, and returns how many.
    pub fn evict(&self, most: usize) -> usize {
        let (mut count, mut idle) = (0, 0);
        while count < most && idle < self.parts.len() {
            let part = &self.parts[self.next_turn()];
            match self.take(part, super::Shard::oldest, |counts| counts.evicted += 1) {
                Some(_) => (count, idle) = (count + 1, 0),
                None => idle += 1,
            }
        }
        count
    }

    fn next_turn(&self) -> usize {
        // Relaxed: any order of turns will do.
        self.turn.fetch_add(1, Ordering::Relaxed) as usize & (self.parts.len() - 1)
    }

    /// Writes up to `most` cold persistent pages to the backing file and frees their memory. `usize::MAX` writes all that are not
    /// same-filled.
    pub fn writeback(&self, most: usize) -> Written {
        let Some(file) = &self.file else { return Written { failed: true, ..Written::default() } };
        let mut done = Written::default();
        while done.pages < most
            && let Some(job) = self.next_job()
        {
            let bytes = job.handle.stored_len();
            if !self.write(file, job) {
                done.failed = true;
                break;
            }
            done.pages += 1;
            done.bytes += bytes;
        }
        done
    }

    /// The next page to be written, which nobody else replaces, flushes or writes until it is.
    fn next_job(&self) -> Option<Job> {
        for _ in 0..self.parts.len() {
            let part = self.next_turn();
            let mut shard = self.parts[part].0.lock();
            if let Some(id) = shard.coldest()
                && let Some(handle) = shard.pages.get_mut(id).begin_write()
            {
                let pool = shard.owner(id).pool;
                let identity = self.identity(&shard, id, Uuid::NIL);
                drop(shard);
                // The pool cannot be gone: who destroys it waits for this page.
                let identity = super::Identity { uuid: self.pools.uuid(pool), ..identity };
                return Some(Job { part, id, handle, identity });
            }
        }
        None
    }

    /// Writes it. False if it could not be written: then it is in memory still.
    fn write(&self, file: &File, job: Job) -> bool {
        let unit = {
            let mut area = self.pool.claim(job.handle.len());
            let Parts { packed, .. } = area.parts();
            let stored = self.pool.read_stored(job.handle, &mut packed[HEADROOM..]).ok();
            stored.and_then(|stored| file.write(job.identity, job.handle.meta(), &mut packed[..HEADROOM + stored]))
        };
        let mut shard = self.parts[job.part].0.lock();
        shard.pages.get_mut(job.id).end_write(unit);
        if unit.is_none() {
            shard.counts.unwritten += 1;
            shard.list(job.id);
            return false;
        }
        shard.counts.written += 1;
        drop(shard);
        self.discard(job.handle);
        true
    }
}
