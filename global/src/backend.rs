//! What serves the small sizes: the kernel has three such allocators behind one interface, and so does this crate.

use core::alloc::GlobalAlloc;
use kmem_base::classes::Class;
use kmem_base::knobs::Settings;
use kmem_base::pages::Pages;
use kmem_base::sync::AtomicU32;
use kmem_slubq::Level;

/// An allocator of small objects with a page supply of its own; there is one of each kind per process.
///
/// # Safety
/// Objects are of their class's size and aligned to the largest power of two that divides it, up to a page; they overlap nothing while
/// they live.
pub unsafe trait Backend: 'static {
    /// Sets everything up unless that has been done. False if there is no memory for it.
    fn start(settings: &Settings) -> bool;

    /// Whoever serves every layout by itself, so that nothing else here is asked but about starting and forking; nothing if classes and
    /// pages do.
    #[inline(always)]
    fn whole() -> Option<&'static dyn GlobalAlloc> {
        None
    }

    /// An object of `class` if one is at hand; null otherwise, and before [`Self::start`].
    fn alloc_fast(class: Class) -> *mut u8;

    /// An object of `class`; null if there is no memory. After [`Self::start`].
    fn alloc_slow(class: Class) -> *mut u8;

    /// Takes an object back.
    ///
    /// # Safety
    /// It came from [`Self::alloc_fast`] or [`Self::alloc_slow`] with the same class and is dead.
    unsafe fn free(class: Class, object: *mut u8);

    /// Where larger blocks come from.
    fn pages() -> &'static Pages;

    /// Gives up what is not in use; returns bytes that went back to the system.
    fn trim(level: Level) -> usize;

    /// Gives back what is due to go back, if anything is. For whoever serves large blocks.
    fn tick();

    /// Not 0 once the handlers below are registered with the system.
    fn fork_watch() -> &'static AtomicU32;

    /// Takes every lock before `fork`.
    fn prepare_fork();

    /// Releases them, in parent or `child`.
    ///
    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    unsafe fn after_fork(child: bool);
}

/// SLUB with per-CPU queues and bitmap free tracking: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slubq;

static SLUBQ_WATCH: AtomicU32 = AtomicU32::new(0);
static SLUBQ: kmem_slubq::Slubq = kmem_slubq::Slubq::system();

impl Slubq {
    /// The process's allocator.
    #[inline(always)]
    #[must_use]
    pub fn get() -> &'static kmem_slubq::Slubq {
        &SLUBQ
    }
}

// SAFETY: `kmem_slubq` keeps that promise: objects lie back to back from a page boundary, so that what divides their size and a page
// divides their address.
unsafe impl Backend for Slubq {
    fn start(settings: &Settings) -> bool {
        SLUBQ.start(settings)
    }

    #[inline(always)]
    fn alloc_fast(class: Class) -> *mut u8 {
        SLUBQ.alloc_fast(class)
    }

    fn alloc_slow(class: Class) -> *mut u8 {
        SLUBQ.alloc_slow(class)
    }

    #[inline(always)]
    unsafe fn free(class: Class, object: *mut u8) {
        // SAFETY: the caller's.
        unsafe { SLUBQ.free(class, object) }
    }

    fn pages() -> &'static Pages {
        SLUBQ.pages()
    }

    fn trim(level: Level) -> usize {
        SLUBQ.trim(level)
    }

    fn tick() {
        SLUBQ.tick();
    }

    fn fork_watch() -> &'static AtomicU32 {
        &SLUBQ_WATCH
    }

    fn prepare_fork() {
        SLUBQ.prepare_fork();
    }

    unsafe fn after_fork(child: bool) {
        // SAFETY: the caller's.
        unsafe { SLUBQ.after_fork(child) }
    }
}
