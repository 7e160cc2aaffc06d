//! The name of an object.

use super::word::Generation;
use core::num::NonZeroU64;

/// Names an object until it is freed, wherever compaction moves it. Eight bytes, and so is an `Option` of it.
///
/// One that was freed, or comes from another pool, is refused with [`HandleError::Stale`](super::HandleError::Stale). So is one that
/// was made up, unless it happens to be a live object's; none is ever undefined behaviour. (Of pools made 32768 apart, one may take the
/// other's handles for its own.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Handle(NonZeroU64);

// From the top: 15 bits of the pool, 6 of the shard, 30 of the slot, 13 of the generation.
const SLOT: u32 = Generation::BITS;
const SHARD: u32 = SLOT + 30;
const TAG: u32 = SHARD + 6;

impl Handle {
    /// As a number, to be stored where handles cannot be.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The handle of [`Self::to_bits`]. Any number will do; only 0 is never one.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// The handle of an object. A generation is never 0.
    pub(super) fn new(tag: u16, shard: usize, slot: u32, generation: Generation) -> Self {
        let bits = u64::from(tag) << TAG | (shard as u64) << SHARD | u64::from(slot) << SLOT | u64::from(generation.0);
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    #[inline]
    pub(super) fn tag(self) -> u16 {
        (self.to_bits() >> TAG) as u16
    }

    #[inline]
    pub(super) fn shard(self) -> usize {
        (self.to_bits() >> SHARD) as usize & 63
    }

    #[inline]
    pub(super) fn slot(self) -> u32 {
        (self.to_bits() >> SLOT) as u32 & ((1 << 30) - 1)
    }

    #[inline]
    pub(super) fn generation(self) -> Generation {
        Generation(self.to_bits() as u16 & Generation::LAST.0)
    }
}
