//! The name of an object.

use core::num::NonZeroU64;

/// Names an object until it is freed, wherever compaction moves it. Eight bytes, and so is an `Option` of it.
///
/// A handle that was freed, or comes from another pool, or was made up, is refused with
/// [`HandleError::Stale`](super::HandleError::Stale) or, if made up well, names some other live object of the pool; it is never
/// undefined behaviour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Handle(NonZeroU64);

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
}
