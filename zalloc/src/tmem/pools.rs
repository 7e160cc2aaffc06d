//! Which pools there are.

use super::error::PoolError;
use super::key::{Lifetime, PoolId, Sharing, Uuid};
use super::{MOST_POOLS, POOLS};
use core::array::from_fn;
use kmem_base::sync::{AtomicU64, Lock, Ordering};

/// One pool, or the place of one.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: Option<PoolId>,
    uuid: Uuid,
    /// Creations that have not been destroyed. None in a pool that was found in a file and nobody has asked for yet.
    users: u32,
    /// Nobody uses it any more, and it is not empty yet.
    dying: bool,
}

#[derive(Debug)]
struct Table {
    entries: [Entry; MOST_POOLS],
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Pools {
    /// The bits of the ids of living pools, and zeroes.
    alive: [AtomicU64; MOST_POOLS],
    table: Lock<Table, { POOLS }>,
}

impl Pools {
    pub(super) fn new() -> Self {
        let none = Entry { id: None, uuid: Uuid::NIL, users: 0, dying: false };
        let table = Table { entries: [none; MOST_POOLS], generation: 0 };
        Self { alive: from_fn(|_| AtomicU64::new(0)), table: Lock::new(table) }
    }

    /// Whether pages of the pool may be put. Asked under the lock of the page's shard: whoever destroys the pool takes that lock
    /// after it has said so here, and before it empties the shard.
    pub(super) fn is_alive(&self, id: PoolId) -> bool {
        // Relaxed: the shard's lock orders it.
        self.alive.get(id.slot()).is_some_and(|alive| alive.load(Ordering::Relaxed) == id.bits())
    }

    pub(super) fn create(&self, lifetime: Lifetime, sharing: Sharing) -> Result<PoolId, PoolError> {
        self.add(lifetime, sharing, 1)
    }

    /// The shared persistent pool of that name, which was found in a file.
    pub(super) fn found(&self, uuid: Uuid) -> Option<PoolId> {
        self.add(Lifetime::Persistent, Sharing::Shared(uuid), 0).ok()
    }

    fn add(&self, lifetime: Lifetime, sharing: Sharing, users: u32) -> Result<PoolId, PoolError> {
        let mut guard = self.table.lock();
        let table = &mut *guard;
        let uuid = match sharing {
            Sharing::Private => Uuid::NIL,
            Sharing::Shared(Uuid::NIL) => return Err(PoolError::Name),
            Sharing::Shared(uuid) => uuid,
        };
        let known = table.entries.iter_mut().find(|entry| uuid != Uuid::NIL && entry.uuid == uuid && !entry.dying);
        if let Some(Entry { id: Some(id), users: known_users, .. }) = known {
            if id.is_ephemeral() != (lifetime == Lifetime::Ephemeral) {
                return Err(PoolError::Name);
            }
            *known_users += users;
            return Ok(*id);
        }
        let slot = table.entries.iter().position(|entry| entry.id.is_none()).ok_or(PoolError::TooMany)?;
        table.generation += 1;
        let id = PoolId::new(slot, table.generation, lifetime, uuid != Uuid::NIL);
        table.entries[slot] = Entry { id: Some(id), uuid, users, dying: false };
        self.alive[slot].store(id.bits(), Ordering::Relaxed);
        Ok(id)
    }

    /// The name of a pool, or none.
    pub(super) fn uuid(&self, id: PoolId) -> Uuid {
        self.table.lock().entries.get(id.slot()).filter(|entry| entry.id == Some(id)).map_or(Uuid::NIL, |entry| entry.uuid)
    }

    /// One user less. True if it was the last: then the caller empties the pool and calls [`Self::buried`].
    pub(super) fn destroy(&self, id: PoolId) -> Option<bool> {
        let mut table = self.table.lock();
        let entry = table.entries.get_mut(id.slot()).filter(|entry| entry.id == Some(id) && entry.users > 0)?;
        entry.users -= 1;
        if entry.users > 0 {
            return Some(false);
        }
        entry.dying = true;
        self.alive[id.slot()].store(0, Ordering::Relaxed);
        Some(true)
    }

    /// It is empty: its place may be another's.
    pub(super) fn buried(&self, id: PoolId) {
        let mut table = self.table.lock();
        table.entries[id.slot()] = Entry { id: None, uuid: Uuid::NIL, users: 0, dying: false };
    }

    /// Number of pools.
    pub(super) fn count(&self) -> usize {
        self.table.lock().entries.iter().filter(|entry| entry.id.is_some()).count()
    }
}
