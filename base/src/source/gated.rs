//! The system behind somebody who may refuse, for tests.

use super::{Call, Faults, OsSource, PageSource, Plan};
use crate::sync::const_fn;
use core::ptr::NonNull;

/// Who is asked before each call to the system but those that are only hints.
pub trait Gate: Sync + core::fmt::Debug {
    /// True if the call, which is about `len` bytes, may happen.
    fn opens(&self, call: Call, len: usize) -> bool;
}

/// What a test that needs no more says for itself.
pub type Permit = fn(Call, usize) -> bool;

impl Gate for Permit {
    fn opens(&self, call: Call, len: usize) -> bool {
        self(call, len)
    }
}

impl Gate for Faults {
    fn opens(&self, call: Call, _len: usize) -> bool {
        !self.fails(call)
    }
}

/// [`OsSource`] behind a [`Gate`].
#[derive(Debug, Default)]
pub struct GatedSource<G>(pub G);

/// [`OsSource`] with failures by [`Plan`].
pub type FaultySource = GatedSource<Faults>;

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
unsafe impl<G: Gate> PageSource for GatedSource<G> {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        if self.0.opens(Call::Reserve, len) { OsSource.reserve(len, align) } else { None }
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's promise is `OsSource`'s.
        self.0.opens(Call::Commit, len) && unsafe { OsSource.commit(at, len) }
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        if self.0.opens(Call::Map, len) { OsSource.map(len, align) } else { None }
    }

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: as above.
        self.0.opens(Call::Purge, len) && unsafe { OsSource.purge(at, len) }
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
        if !self.0.opens(Call::Remap, new) {
            return None;
        }
        // SAFETY: as above.
        unsafe { OsSource.remap(at, old, new, may_move) }
    }

    unsafe fn unmap(&self, at: NonNull<u8>, len: usize) {
        // Refused, it costs address space and nothing else.
        if self.0.opens(Call::Unmap, len) {
            // SAFETY: as above.
            unsafe { OsSource.unmap(at, len) }
        }
    }
}
