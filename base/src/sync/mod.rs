//! The one seam between the allocator and what runs its threads: atomics, locks, and the order in which locks are taken.
//!
//! Everything that threads share goes through this module, and nothing outside it knows of loom.

mod lock;
#[cfg(all(test, loom))]
mod loom_models;
mod rank;

pub use lock::{Guard, Lock};
pub use rank::Rank;

#[cfg(loom)]
mod backend {
    pub use loom::cell::UnsafeCell;
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    /// Gives way to the other model threads.
    pub fn relax(_round: &mut u32) {
        loom::thread::yield_now();
    }
}

#[cfg(not(loom))]
mod backend {
    pub use core::hint::spin_loop;
    pub use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

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
            let pause = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
            // SAFETY: reads one timespec; a null remainder is allowed.
            unsafe { libc::nanosleep(&raw const pause, core::ptr::null_mut()) };
        }
        *round = round.saturating_add(1);
    }
}

pub use backend::*;
