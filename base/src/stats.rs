//! Counters per cache. Only slow paths count: the fast paths leave no trace, which is what makes them fast.

use crate::sync::{AtomicU64, Ordering};

/// Defines a struct of public counters, on cache lines of its own.
#[macro_export]
macro_rules! counters {
    ($(#[doc = $about:literal])+ $kind:ident; $($(#[doc = $doc:literal])+ $name:ident;)+) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        #[repr(align(64))]
        pub struct $kind { $($(#[doc = $doc])+ pub $name: $crate::sync::AtomicU64,)+ }

        impl $kind {
            $crate::const_fn! {
                pub(crate) const fn new() -> Self {
                    Self { $($name: $crate::sync::AtomicU64::new(0),)+ }
                }
            }

            /// Adds what `other` counted.
            pub(crate) fn include(&self, other: &Self) {
                $($crate::stats::add(&self.$name, other.$name.load($crate::sync::Ordering::Relaxed));)+
            }

            /// Calls `each` with every counter's name and value.
            pub fn for_each(&self, mut each: impl FnMut(&'static str, u64)) {
                $(each(stringify!($name), self.$name.load($crate::sync::Ordering::Relaxed));)+
            }
        }
    };
}

pub use crate::counters;

/// Adds one. Not atomic as a whole: a count lost to a race is worth less than the bus traffic of counting it.
#[inline]
pub fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds `n`, in the same way.
#[inline]
pub fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
