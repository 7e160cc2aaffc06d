//! Which of the queues' slots are taken.

use crate::classes::CLASSES;
use crate::config::MAX_SLOTS;
use crate::sync::{AtomicU16, Ordering};

/// The slots behind those of the general caches. Lives inside a lock.
#[derive(Debug)]
pub struct Slots {
    /// Slots that have been used.
    used: usize,
    /// First of the destroyed caches' slots in [`Retired`], and their number.
    first: usize,
    count: usize,
}

/// Destroyed caches' slots, oldest first: used again only when no other is left, so that a late use is noticed. Guarded by the lock of
/// [`Slots`], and apart from it: most programs destroy no cache.
pub type Retired = [AtomicU16; MAX_SLOTS];

impl Slots {
    /// None taken.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self { used: 0, first: 0, count: 0 }
    }

    /// Takes one, if there is one left.
    pub fn take(&mut self, retired: &Retired) -> Option<usize> {
        if CLASSES + self.used < MAX_SLOTS {
            self.used += 1;
            return Some(CLASSES + self.used - 1);
        }
        if self.count == 0 {
            return None;
        }
        let slot = retired[self.first].load(Ordering::Relaxed) as usize;
        self.first = (self.first + 1) % MAX_SLOTS;
        self.count -= 1;
        Some(slot)
    }

    /// Takes `slot` back.
    pub fn retire(&mut self, retired: &Retired, slot: usize) {
        retired[(self.first + self.count) % MAX_SLOTS].store(slot as u16, Ordering::Relaxed);
        self.count += 1;
    }
}

const _: () = assert!(MAX_SLOTS <= u16::MAX as usize);
