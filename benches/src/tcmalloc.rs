//! tcmalloc in its per-CPU mode.
//!
//! The mode is switched on by an object file that nothing else in the crate's library refers to, so that a plain link
//! leaves it out and tcmalloc falls back to its deprecated per-thread caches. The reference here brings it in.

unsafe extern "C" {
    fn TCMalloc_Internal_ForceCpuCacheActivation();
}

/// Called once, before the first allocation. Without a free rseq registration it does nothing.
pub(crate) fn start() {
    // SAFETY: takes no arguments and may be called at any time; a second call has no effect.
    unsafe { TCMalloc_Internal_ForceCpuCacheActivation() }
}
