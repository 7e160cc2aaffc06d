//! Vectors whose places are used again, and hash tables of what lies in them. Nothing here moves, so that a number names a thing for as
//! long as it lives. A refused allocation leaves everything as it was.

use std::vec::Vec;

/// No number.
pub(super) const NONE: u32 = u32::MAX;
const FEWEST: usize = if kmem_base::sync::MODEL { 4 } else { 64 };

/// What can lie in a place: it has a link for the chain of its bucket, or of free places.
pub(super) trait Chained {
    fn chain(&self) -> u32;
    fn set_chain(&mut self, next: u32);
}

/// Things, and the places of former ones.
#[derive(Debug)]
pub(super) struct Slots<T> {
    items: Vec<T>,
    free: u32,
    live: usize,
}

impl<T: Chained> Slots<T> {
    pub(super) const fn new() -> Self {
        Self { items: Vec::new(), free: NONE, live: 0 }
    }

    pub(super) fn all(&self) -> &[T] {
        &self.items
    }

    pub(super) fn all_mut(&mut self) -> &mut [T] {
        &mut self.items
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>()
    }

    pub(super) fn get(&self, id: u32) -> &T {
        &self.items[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.items[id as usize]
    }

    /// True if there is a place for one more.
    pub(super) fn reserve(&mut self) -> bool {
        self.free != NONE || (self.items.len() < NONE as usize && self.items.try_reserve(1).is_ok())
    }

    /// Puts `item` into a place that [`Self::reserve`] has found.
    pub(super) fn insert(&mut self, item: T) -> u32 {
        self.live += 1;
        if self.free == NONE {
            self.items.push(item);
            return (self.items.len() - 1) as u32;
        }
        let id = self.free;
        self.free = self.items[id as usize].chain();
        self.items[id as usize] = item;
        id
    }

    /// Makes the place free. What was in it stays there, and means nothing.
    pub(super) fn remove(&mut self, id: u32) {
        self.items[id as usize].set_chain(self.free);
        self.free = id;
        self.live -= 1;
    }

    /// Number of free places, by walking them.
    pub(super) fn count_free(&self) -> Option<usize> {
        let (mut count, mut at) = (0, self.free);
        while at != NONE {
            at = self.items.get(at as usize)?.chain();
            count += 1;
            if count > self.items.len() {
                return None;
            }
        }
        Some(count)
    }
}

/// Heads of chains.
#[derive(Debug)]
pub(super) struct Buckets {
    heads: Vec<u32>,
}

impl Buckets {
    pub(super) const fn new() -> Self {
        Self { heads: Vec::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<u32>()
    }

    fn at(&self, hash: u32) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    /// The first of a chain that is `wanted`.
    pub(super) fn find<T: Chained>(&self, slots: &Slots<T>, hash: u32, wanted: impl Fn(&T) -> bool) -> Option<u32> {
        if self.heads.is_empty() {
            return None;
        }
        let mut at = self.heads[self.at(hash)];
        while at != NONE && !wanted(slots.get(at)) {
            at = slots.get(at).chain();
        }
        (at != NONE).then_some(at)
    }

    /// Makes room for as many as there are and one more. False if there is no table at all; a table that cannot grow has longer
    /// chains.
    pub(super) fn reserve<T: Chained>(&mut self, slots: &mut Slots<T>, hash: impl Fn(&T) -> u32) -> bool {
        if slots.live() < self.heads.len() {
            return true;
        }
        let count = (self.heads.len() * 2).max(FEWEST);
        let mut heads = Vec::new();
        if heads.try_reserve_exact(count).is_err() {
            return !self.heads.is_empty();
        }
        heads.resize(count, NONE);
        let old = core::mem::replace(&mut self.heads, heads);
        for mut at in old {
            while at != NONE {
                let next = slots.get(at).chain();
                let hash = hash(slots.get(at));
                self.insert(slots, hash, at);
                at = next;
            }
        }
        true
    }

    /// Puts `id` into its chain.
    pub(super) fn insert<T: Chained>(&mut self, slots: &mut Slots<T>, hash: u32, id: u32) {
        let bucket = self.at(hash);
        slots.get_mut(id).set_chain(self.heads[bucket]);
        self.heads[bucket] = id;
    }

    /// Takes `id` out of its chain.
    pub(super) fn remove<T: Chained>(&mut self, slots: &mut Slots<T>, hash: u32, id: u32) {
        let bucket = self.at(hash);
        let next = slots.get(id).chain();
        let mut at = self.heads[bucket];
        if at == id {
            self.heads[bucket] = next;
            return;
        }
        while at != NONE {
            let behind = slots.get(at).chain();
            if behind == id {
                slots.get_mut(at).set_chain(next);
                return;
            }
            at = behind;
        }
    }
}
