//! The process's allocator. Not where models run: each of those has its own.

use crate::slab::Slab;

static SYSTEM: Slab = Slab::system();

/// The process's allocator: that of `kmem::Slab` and of caches built without another.
#[inline(always)]
#[must_use]
pub fn system() -> &'static Slab {
    &SYSTEM
}
