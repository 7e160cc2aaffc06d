//! A lock of one word with a rank in its type.
//!
//! Critical sections here are tens of nanoseconds and mostly uncontended, because everything hot is per CPU. So the lock is one
//! compare-and-swap to take and one plain store to release, and a thread that must wait soon gives its CPU away
//! ([`super::relax`]).
//!
//! The word says who holds it. So a signal handler that interrupts a holder and wants the lock is stopped with a message instead of
//! waiting for itself for ever; and one that forks, as programs do when they crash, leaves alone what its own thread holds: the child
//! returns from the handler, too, and goes on.

use super::tally::{self, Tally};
use super::{AtomicUsize, MODEL, Ordering, Rank, UnsafeCell, const_fn, is_me, me, rank, relax};
use crate::fault::{Fault, die};
use core::ops::{Deref, DerefMut};

const FREE: usize = 0;
/// Set beside the holder if it holds the lock to fork.
const FORK: usize = 1;

/// `T` behind a lock that may only be taken while no lock of rank `RANK` or above is held (checked in debug builds).
///
/// In this order: of a large `T` the first bytes are then on the lock's OS page, and nothing else need be.
#[derive(Debug)]
#[repr(C)]
pub struct Lock<T, const RANK: u8> {
    holder: AtomicUsize,
    tally: Tally,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is only reached through a guard, and `holder` lets one guard exist at a time.
unsafe impl<T: Send, const RANK: u8> Sync for Lock<T, RANK> {}

impl<T, const RANK: u8> Lock<T, RANK> {
    const_fn! {
        /// A free lock.
        pub const fn new(value: T) -> Self {
            Self { holder: AtomicUsize::new(FREE), tally: Tally::new(), value: UnsafeCell::new(value) }
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
        if !self.grab(me()) {
            tally::busy(RANK);
            return None;
        }
        rank::took(RANK);
        self.tally.took(RANK);
        Some(Guard { lock: self })
    }

    /// Takes the lock without a guard: for `fork`, which holds every lock across a call it does not make itself. Locks of one
    /// rank are taken in the order of their addresses' owners. Does nothing if this thread was interrupted while it held the lock.
    pub fn acquire(&self) {
        let mut round = 0;
        while !self.grab(me() | FORK) {
            if is_me(self.holder.load(Ordering::Relaxed)) {
                return;
            }
            relax(&mut round);
        }
        rank::took(RANK);
        self.tally.took(RANK);
    }

    /// Releases a lock taken by [`Self::acquire`].
    ///
    /// # Safety
    /// This thread, or the parent that it was forked from, has called `acquire`.
    pub unsafe fn release(&self) {
        // Held by this thread in another way, or by one that forks, too, after `acquire` found it so.
        if self.holder.load(Ordering::Relaxed) != me() | FORK {
            return;
        }
        rank::released(RANK);
        let held = self.tally.held();
        // Release pairs with the Acquire of the next holder.
        self.holder.store(FREE, Ordering::Release);
        tally::released(RANK, held);
    }

    /// What the lock guards, for who has taken it by [`Self::acquire`].
    ///
    /// # Safety
    /// This thread has called `acquire`, and nothing else refers to the value.
    #[must_use]
    pub unsafe fn held(&self) -> &T {
        // SAFETY: the caller's.
        self.value.with(|value| unsafe { &*value })
    }

    #[inline]
    #[cfg_attr(feature = "count", track_caller)]
    fn grab(&self, holder: usize) -> bool {
        // Acquire pairs with the Release store of the last holder.
        self.holder.compare_exchange(FREE, holder, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    #[cfg_attr(feature = "count", track_caller)]
    fn wait(&self) {
        if !self.grab(me()) {
            self.wait_slow();
        }
    }

    #[cold]
    fn wait_slow(&self) {
        tally::waits(RANK);
        let mut round = 0;
        loop {
            relax(&mut round);
            // In a model a load may see the past for ever; an exchange does not.
            match self.holder.load(Ordering::Relaxed) {
                holder if is_me(holder) => die(Fault::Interrupted, RANK as usize, "lock"),
                holder if (holder == FREE || MODEL) && self.grab(me()) => return,
                _ => {}
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
        self.lock.holder.store(FREE, Ordering::Release);
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
    fn a_thread_that_forks_leaves_alone_what_it_holds() {
        let lock: Lock<(), { Rank::Shard.of() }> = Lock::new(());
        let guard = lock.lock();
        lock.acquire();
        // SAFETY: acquired, as far as it can be.
        unsafe { lock.release() };
        assert!(lock.try_lock().is_none(), "still held");
        drop(guard);
        lock.acquire();
        assert!(lock.try_lock().is_none(), "held to fork");
        // SAFETY: acquired.
        unsafe { lock.release() };
        assert!(lock.try_lock().is_some());
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
