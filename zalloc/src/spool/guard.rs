//! Reading without a copy.

use super::shard::Shard;
use super::word::{Location, Word};
use core::ops::Deref;
use core::ptr::NonNull;

/// The bytes of an object, where they are. It is not moved, written or reused as long as this lives; freed, it ends with the last
/// guard.
///
/// Of one object there can be 126 at a time. A guard that is leaked keeps its object, and the span around it, for ever.
#[derive(Debug)]
#[must_use]
pub struct ReadGuard<'a> {
    shard: &'a Shard,
    slot: u32,
    at: Location,
    bytes: NonNull<[u8]>,
}

// SAFETY: shared bytes that nobody writes while they are pinned; unpinning is atomic.
unsafe impl Send for ReadGuard<'_> {}
// SAFETY: as above.
unsafe impl Sync for ReadGuard<'_> {}

impl<'a> ReadGuard<'a> {
    /// The guard of a pin that was just made, by which the slot's word became `word`.
    #[inline]
    pub(super) fn new(shard: &'a Shard, slot: u32, word: Word) -> Self {
        let at = word.location();
        Self { shard, slot, at, bytes: NonNull::slice_from_raw_parts(shard.region.object(at), word.size()) }
    }
}

impl Deref for ReadGuard<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the object is pinned: writable memory of so many bytes, which nobody writes, moves or frees (theory 3.5).
        self.shard.reads(self.at, || unsafe { self.bytes.as_ref() })
    }
}

impl AsRef<[u8]> for ReadGuard<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for ReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(slot) = self.shard.slot(self.slot) else { return };
        if slot.try_update(Word::unpin).is_ok_and(|word| word.is_dying() && word.pins() == 0) {
            // Freed meanwhile. What memory becomes free is given back by the next free: a guard knows no source.
            self.shard.release(self.slot);
        }
    }
}
