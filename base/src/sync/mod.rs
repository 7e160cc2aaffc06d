//! The one seam between the allocator and what runs its threads: atomics, locks, and the order in which locks are taken.
//!
//! Everything that threads share goes through this module, and nothing outside it knows of loom. Three things are different where
//! loom runs the threads, and each has one name here:
//!
//! * [`const_fn!`] and [`filled!`]: loom's atomics cannot be made in constants.
//! * [`begin`]: zeroed memory holds no atomics there until they are put into it.
//! * [`MODEL`]: tables are small there, since every atomic costs time in every execution.

#[cfg(all(feature = "count", not(loom)))]
pub mod count;
#[cfg(all(test, loom))]
pub(crate) mod explore;
mod lock;
#[cfg(all(test, loom))]
mod loom_models;
mod rank;
#[cfg(any(not(feature = "count"), loom))]
mod uncounted;

#[cfg(all(feature = "count", not(loom)))]
use count as tally;
#[cfg(any(not(feature = "count"), loom))]
use uncounted as tally;

pub use lock::{Guard, Lock};
pub use rank::Rank;

/// Sleeping, which must not be a point at which `pthread_cancel` takes effect: nobody expects one in an allocator, and what the thread
/// has in hand would be lost.
#[cfg(all(target_os = "linux", not(loom)))]
mod nap {
    /// Sleeps for `pause`.
    pub(super) fn nap(pause: &libc::timespec) {
        // SAFETY: reads one timespec; a null remainder is allowed.
        unsafe { libc::syscall(libc::SYS_nanosleep, core::ptr::from_ref(pause), core::ptr::null_mut::<libc::timespec>()) };
    }
}

#[cfg(all(not(target_os = "linux"), not(loom)))]
mod nap {
    /// Sleeps for `pause`.
    pub(super) fn nap(pause: &libc::timespec) {
        // SAFETY: reads one timespec; a null remainder is allowed.
        unsafe { libc::nanosleep(pause, core::ptr::null_mut()) };
    }
}

#[cfg(loom)]
mod backend {
    pub use loom::cell::UnsafeCell;
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    // What the modelled sequences are made of.
    pub use loom::lazy_static::Lazy;
    pub use loom::sync::{Mutex, MutexGuard};
    pub use loom::thread::LocalKey;

    /// True where models run.
    pub const MODEL: bool = true;

    /// A function that is `const` outside models.
    #[macro_export]
    macro_rules! const_fn {
        ($(#[$attribute:meta])* $visible:vis const fn $($rest:tt)*) => { $(#[$attribute])* $visible fn $($rest)* };
    }

    /// An array of equal values.
    #[macro_export]
    macro_rules! filled {
        ($value:expr; $count:expr) => {
            core::array::from_fn::<_, { $count }, _>(|_| $value)
        };
    }

    /// Makes `count` values in fresh memory whose initial value is all zero.
    ///
    /// # Safety
    /// The memory is writable, zeroed, aligned for `T`, and the caller's.
    pub unsafe fn begin<T>(at: *mut T, count: usize, make: impl Fn() -> T) {
        // SAFETY: the caller's.
        (0..count).for_each(|index| unsafe { at.add(index).write(make()) });
    }

    /// What a lock's holder leaves in it. Which thread that is does not matter here.
    pub fn me() -> usize {
        2
    }

    /// False: no model thread meets a lock that it holds.
    pub fn is_me(_holder: usize) -> bool {
        false
    }

    /// Gives way to the other model threads.
    pub fn relax(_round: &mut u32) {
        loom::thread::yield_now();
    }
}

#[cfg(not(loom))]
mod backend {
    #[cfg(feature = "count")]
    pub use super::count::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub use core::hint::spin_loop;
    #[cfg(not(feature = "count"))]
    pub use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub use core::sync::atomic::{AtomicU16, Ordering, fence};

    /// True where models run.
    pub const MODEL: bool = false;

    /// A function that is `const` outside models.
    #[macro_export]
    macro_rules! const_fn {
        ($($function:tt)*) => { $($function)* };
    }

    /// An array of equal values.
    #[macro_export]
    macro_rules! filled {
        ($value:expr; $count:expr) => {
            [const { $value }; $count]
        };
    }

    /// Makes `count` values in fresh memory whose initial value is all zero: nothing to do.
    ///
    /// # Safety
    /// The memory is writable, zeroed, aligned for `T`, and the caller's.
    #[inline(always)]
    pub unsafe fn begin<T>(_at: *mut T, _count: usize, _make: impl Fn() -> T) {}

    /// `core`'s cell behind loom's closure interface.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Wraps `value`.
        pub const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Calls `f` with a pointer to read through.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Calls `f` with a pointer to write through.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// An even number, not 0, that no other thread has: what a lock's holder leaves in it. In a forked child it is the parent's.
    #[inline]
    pub fn me() -> usize {
        // SAFETY: returns an address that belongs to the thread.
        (unsafe { libc::pthread_self() }) as usize
    }

    /// True if this thread left `holder`.
    pub fn is_me(holder: usize) -> bool {
        holder & !1 == me()
    }

    /// Waits a little for another thread, longer each round: spin, then yield, then sleep. More threads than CPUs is the normal
    /// case, so the holder of a lock may be off its CPU: spinning on it only keeps it from running.
    pub fn relax(round: &mut u32) {
        const SPINS: u32 = 6;
        const YIELDS: u32 = 32;
        if *round < SPINS {
            for _ in 0..1 << *round {
                spin_loop();
            }
        } else if *round < YIELDS {
            // SAFETY: takes nothing and cannot fail.
            unsafe { libc::sched_yield() };
        } else {
            super::nap::nap(&libc::timespec { tv_sec: 0, tv_nsec: 50_000 });
        }
        *round = round.saturating_add(1);
    }
}

pub use crate::{const_fn, filled};
pub use backend::*;
