//! A source that fails when told to, for tests.

use super::{Call, Faults, OsSource, PageSource, Plan};
use crate::sync::const_fn;
use core::ptr::NonNull;

/// [`OsSource`] with failures by [`Plan`].
#[derive(Debug, Default)]
pub struct FaultySource(Faults);

impl FaultySource {
    const_fn! {
        /// A source that does not fail yet.
        #[must_use]
        pub const fn new() -> Self {
            Self(Faults::new())
        }
    }

    /// Follows `plan` from now on, counting calls from 0.
    pub fn plan(&self, plan: Plan) {
        self.0.plan(plan);
    }

    /// Calls since the plan was made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.calls()
    }

    /// Calls failed on purpose, ever.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.failures()
    }
}

// SAFETY: forwards to `OsSource`, or changes nothing.
unsafe impl PageSource for FaultySource {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        if self.0.fails(Call::Reserve) { None } else { OsSource.reserve(len, align) }
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's promise is `OsSource`'s.
        !self.0.fails(Call::Commit) && unsafe { OsSource.commit(at, len) }
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        if self.0.fails(Call::Map) { None } else { OsSource.map(len, align) }
    }

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: as above.
        !self.0.fails(Call::Purge) && unsafe { OsSource.purge(at, len) }
    }

    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { OsSource.advise_huge(at, len) }
    }

    unsafe fn advise_small(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { OsSource.advise_small(at, len) }
    }

    unsafe fn remap(&self, at: NonNull<u8>, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
        if self.0.fails(Call::Remap) {
            return None;
        }
        // SAFETY: as above.
        unsafe { OsSource.remap(at, old, new, may_move) }
    }

    unsafe fn unmap(&self, at: NonNull<u8>, len: usize) {
        // Refused, it costs address space and nothing else.
        if !self.0.fails(Call::Unmap) {
            // SAFETY: as above.
            unsafe { OsSource.unmap(at, len) }
        }
    }
}
