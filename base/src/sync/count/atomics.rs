//! The atomics of `core`, with every write counted. Reads are not.

use super::lines::wrote;
use core::panic::Location;
use core::sync::atomic::Ordering;

macro_rules! writes {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)+) => { $(
        /// As in `core`, counted.
        #[track_caller]
        #[allow(clippy::missing_errors_doc, reason = "as in core")]
        pub fn $name(&self, $($arg: $type),*) -> $result {
            wrote(self.0.as_ptr().addr(), Location::caller());
            self.0.$name($($arg),*)
        }
    )+ };
}

macro_rules! atomic {
    ($name:ident $(<$t:ident>)?, $value:ty) => {
        /// As in `core`, writes counted.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name $(<$t>)? (core::sync::atomic::$name $(<$t>)?);

        impl $(<$t>)? $name $(<$t>)? {
            /// As in `core`.
            #[must_use]
            pub const fn new(value: $value) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }

            /// As in `core`.
            #[inline]
            #[must_use]
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            /// As in `core`.
            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            writes! {
                store(value: $value, order: Ordering) -> ();
                swap(value: $value, order: Ordering) -> $value;
                compare_exchange(old: $value, new: $value, done: Ordering, failed: Ordering) -> Result<$value, $value>;
                compare_exchange_weak(old: $value, new: $value, done: Ordering, failed: Ordering) -> Result<$value, $value>;
            }
        }
    };
}

macro_rules! integer {
    ($($name:ident, $value:ty;)+) => { $(
        atomic!($name, $value);

        impl $name {
            writes! {
                fetch_add(value: $value, order: Ordering) -> $value;
                fetch_sub(value: $value, order: Ordering) -> $value;
                fetch_and(value: $value, order: Ordering) -> $value;
                fetch_or(value: $value, order: Ordering) -> $value;
                fetch_max(value: $value, order: Ordering) -> $value;
                fetch_min(value: $value, order: Ordering) -> $value;
            }

            /// As in `core`, counted once.
            #[track_caller]
            #[allow(clippy::missing_errors_doc, reason = "as in core")]
            pub fn fetch_update(
                &self,
                done: Ordering,
                failed: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                wrote(self.0.as_ptr().addr(), Location::caller());
                self.0.fetch_update(done, failed, update)
            }
        }
    )+ };
}

integer! {
    AtomicU8, u8;
    AtomicU32, u32;
    AtomicU64, u64;
    AtomicUsize, usize;
}
atomic!(AtomicPtr<T>, *mut T);
