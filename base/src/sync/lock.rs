//! A lock of one byte with a rank in its type.
//!
//! Critical sections here are tens of nanoseconds and mostly uncontended, because everything hot is per CPU. So the lock is one
//! compare-and-swap to take and one plain store to release, and a thread that must wait soon gives its CPU away
//! ([`super::relax`]).

use super::tally::{self, Tally};
use super::{AtomicU8, Ordering, Rank, UnsafeCell, const_fn, rank, relax};
use core::ops::{Deref, DerefMut};

const FREE: u8 = 0;
const HELD: u8 = 1;

/// `T` behind a lock that may only be taken while no lock of rank `RANK` or above is held (checked in debug builds).
///
/// In this order: of a large `T` the first bytes are then on the lock's OS page, and nothing else need be.
#[derive(Debug)]
#[repr(C)]
pub struct Lock<T, const RANK: u8> {
    state: AtomicU8,
    tally: Tally,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is only reached through a guard, and `state` lets one guard exist at a time.
unsafe impl<T: Send, const RANK: u8> Sync for Lock<T, RANK> {}

impl<T, const RANK: u8> Lock<T, RANK> {
    const_fn! {
        /// A free lock.
        pub const fn new(value: T) -> Self {
            Self { state: AtomicU8::new(FREE), tally: Tally::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Takes the lock, waiting for it if need be.
    #[inline]
    #[cfg_attr(feature = "count", track_caller)]
    pub fn lock(&self) -> Guard<'_, T, RANK> {
        rank::verify(RANK);
        self.wait();
        // Counted only once held: a thread that waits while another forks must not be found holding in the child.
        rank::took(RANK);
        self.tally.took(RANK);
        Guard { lock: self }
    }

    /// Takes the lock if nobody holds it. Never waits, so no order needs to be kept.
    #[inline]
    #[cfg_attr(feature = "count", track_caller)]
    pub fn try_lock(&self) -> Option<Guard<'_, T, RANK>> {
        if !self.grab() {
            tally::busy(RANK);
            return None;
        }
        rank::took(RANK);
        self.tally.took(RANK);
        Some(Guard { lock: self })
    }

    /// Takes the lock without a guard: for `fork`, which holds every lock across a call it does not make itself. Locks of one
    /// rank are taken in the order of their addresses' owners.
    pub fn acquire(&self) {
        self.wait();
        rank::took(RANK);
        self.tally.took(RANK);
    }

    /// Releases a lock taken by [`Self::acquire`].
    ///
    /// # Safety
    /// This thread, or the parent that it was forked from, holds the lock through `acquire`.
    pub unsafe fn release(&self) {
        rank::released(RANK);
        let held = self.tally.held();
        self.state.store(FREE, Ordering::Release);
        tally::released(RANK, held);
    }

    #[inline]
    #[cfg_attr(feature = "count", track_caller)]
    fn grab(&self) -> bool {
        // Acquire pairs with the Release store of the last holder.
        self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    #[cfg_attr(feature = "count", track_caller)]
    fn wait(&self) {
        if !self.grab() {
            self.wait_slow();
        }
    }

    #[cold]
    fn wait_slow(&self) {
        tally::waits(RANK);
        let mut round = 0;
        loop {
            relax(&mut round);
            if self.state.load(Ordering::Relaxed) == FREE && self.grab() {
                return;
            }
        }
    }
}

/// Holds a [`Lock`] until dropped.
#[derive(Debug)]
#[must_use]
pub struct Guard<'a, T, const RANK: u8> {
    lock: &'a Lock<T, RANK>,
}

impl<T, const RANK: u8> Deref for Guard<'_, T, RANK> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard proves that this thread holds the lock.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T, const RANK: u8> DerefMut for Guard<'_, T, RANK> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard proves that this thread holds the lock, and it is borrowed mutably.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T, const RANK: u8> Drop for Guard<'_, T, RANK> {
    #[inline]
    fn drop(&mut self) {
        rank::released(RANK);
        let held = self.lock.tally.held();
        // Release pairs with the Acquire of the next holder.
        self.lock.state.store(FREE, Ordering::Release);
        tally::released(RANK, held);
    }
}

/// The rank as the `u8` that a const generic takes.
impl Rank {
    /// For `Lock<T, { Rank::Shard.of() }>`.
    #[must_use]
    pub const fn of(self) -> u8 {
        self as u8
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn excludes_and_counts() {
        static LOCK: Lock<u64, { Rank::Shard.of() }> = Lock::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        *LOCK.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*LOCK.lock(), 40_000);
    }

    #[test]
    fn try_lock_refuses_a_held_lock() {
        let lock: Lock<(), { Rank::Shard.of() }> = Lock::new(());
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert!(lock.try_lock().is_some());
    }
}
