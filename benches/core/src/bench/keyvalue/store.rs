//! The store: shards under locks, values shared with whoever is answering, the oldest evicted when the room is used up.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The hash does not differ from run to run, as that of a plain `HashMap` does.
type Hash = BuildHasherDefault<DefaultHasher>;

const SHARDS: usize = 16;

/// Keys and values.
pub(super) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    /// Bytes of values in one shard.
    room: usize,
}

#[derive(Default)]
struct Shard {
    map: HashMap<String, Entry, Hash>,
    /// Keys in the order in which they were set; an entry that was set again or deleted since has another number.
    order: VecDeque<(String, u64)>,
    value_bytes: usize,
    sets: u64,
}

struct Entry {
    value: Arc<[u8]>,
    number: u64,
}

impl Store {
    /// An empty store.
    pub(super) fn with_room_for(bytes: usize) -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), room: bytes / SHARDS }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let shard = (Hash::default().hash_one(key) >> 32) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a key.
    pub(super) fn set(&self, key: String, value: &[u8]) {
        let mut shard = self.shard(&key);
        shard.sets += 1;
        let number = shard.sets;
        shard.order.push_back((key.clone(), number));
        shard.value_bytes += value.len();
        if let Some(old) = shard.map.insert(key, Entry { value: value.into(), number }) {
            shard.value_bytes -= old.value.len();
        }
        while shard.value_bytes > self.room {
            shard.evict();
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        self.shard(key).map.get(key).map(|entry| Arc::clone(&entry.value))
    }

    /// Deletes a key and says whether it was there.
    pub(super) fn delete(&self, key: &str) -> bool {
        let mut shard = self.shard(key);
        let old = shard.map.remove(key);
        shard.value_bytes -= old.as_ref().map_or(0, |entry| entry.value.len());
        old.is_some()
    }

    /// What the store has asked the allocator for and not given back.
    pub(super) fn live_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).live_bytes()).sum()
    }
}

impl Shard {
    /// Drops the oldest entry, or the oldest trace of one.
    fn evict(&mut self) {
        let Some((key, number)) = self.order.pop_front() else { return };
        if self.map.get(&key).is_some_and(|entry| entry.number == number)
            && let Some(old) = self.map.remove(&key)
        {
            self.value_bytes -= old.value.len();
        }
    }

    fn live_bytes(&self) -> usize {
        /// Two reference counts before the value.
        const COUNTS: usize = 2 * size_of::<usize>();
        let keys = self.map.keys().chain(self.order.iter().map(|(key, _)| key));
        // The table has one byte per slot besides, and one slot in eight stays free.
        let table = self.map.capacity() * 8 / 7 * (size_of::<(String, Entry)>() + 1);
        let queue = self.order.capacity() * size_of::<(String, u64)>();
        keys.map(String::capacity).sum::<usize>() + self.value_bytes + self.map.len() * COUNTS + table + queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_until_it_is_deleted() {
        let store = Store::with_room_for(1 << 20);
        store.set("key".into(), b"one");
        store.set("key".into(), b"two");
        assert_eq!(store.get("key").as_deref(), Some(&b"two"[..]));
        assert!(store.delete("key") && !store.delete("key"));
        assert_eq!(store.get("key"), None);
    }

    #[test]
    fn the_oldest_is_evicted_and_bytes_add_up() {
        let store = Store::with_room_for(SHARDS * 1_000);
        let key = |number: usize| format!("key{number}");
        for number in 0..2_000 {
            // Set again and again, the first key is young at the end.
            store.set(key(0), &[0; 10]);
            store.set(key(number), &[0; 100]);
        }
        assert!(store.get(&key(1)).is_none() && store.get(&key(1_999)).is_some() && store.get(&key(0)).is_some());
        for shard in &store.shards {
            let shard = shard.lock().unwrap();
            let bytes: usize = shard.map.values().map(|entry| entry.value.len()).sum();
            assert_eq!(shard.value_bytes, bytes);
            assert!(bytes <= 1_000 && bytes > 700);
        }
        assert!(store.live_bytes() > SHARDS * 700);
    }
}
