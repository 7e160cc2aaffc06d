//! [`Slab`]: Bonwick's and Linux's object caches as a back end.

use crate::backend::Backend;
use kmem_base::classes::Class;
use kmem_base::knobs::Settings;
use kmem_base::pages::Pages;
use kmem_base::sync::AtomicU32;
use kmem_slab::system;
use kmem_slubq::Level;

/// Object caches after Bonwick and Linux's SLAB: index freelists, colouring, array caches or magazines, and the reaper.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: kmem::Kmem<kmem::Slab> = kmem::Kmem::over();
///
/// assert_eq!(vec![1, 2, 3].iter().sum::<i32>(), 6);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Slab;

static WATCH: AtomicU32 = AtomicU32::new(0);

impl Slab {
    /// The process's allocator of this kind: caches of one's own, statistics, tuning.
    #[inline(always)]
    #[must_use]
    pub fn get() -> &'static kmem_slab::Slab {
        system()
    }
}

// SAFETY: `kmem_slab` keeps that promise: its general caches are aligned to the largest power of two that divides their size, in every
// colour.
unsafe impl Backend for Slab {
    fn start(settings: &Settings) -> bool {
        system().start(settings)
    }

    #[inline(always)]
    fn alloc_fast(class: Class) -> *mut u8 {
        system().alloc_fast(class)
    }

    fn alloc_slow(class: Class) -> *mut u8 {
        system().alloc_slow(class)
    }

    #[inline(always)]
    unsafe fn free(class: Class, object: *mut u8) {
        // SAFETY: the caller's.
        unsafe { system().free(class, object) }
    }

    fn pages() -> &'static Pages {
        system().pages()
    }

    fn trim(level: Level) -> usize {
        if level == Level::Slabs { system().trim_slabs() } else { system().trim() }
    }

    fn tick() {
        system().tick();
    }

    fn fork_watch() -> &'static AtomicU32 {
        &WATCH
    }

    fn prepare_fork() {
        system().prepare_fork();
    }

    unsafe fn after_fork(child: bool) {
        // SAFETY: the caller's.
        unsafe { system().after_fork(child) }
    }
}
