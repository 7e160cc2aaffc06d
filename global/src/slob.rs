//! Slob behind the adapter: the smallest heap for small programs. One lock, no queues, no size classes, every block of its exact size.

use crate::backend::Backend;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use kmem_base::classes::Class;
use kmem_base::fault::{Fault, die};
use kmem_base::knobs::Settings;
use kmem_base::pages::Pages;
use kmem_base::source::OsSource;
use kmem_base::sync::{AtomicU32, Lock, Rank};
use kmem_slob::{Book, Lists, Marks, Mode, Unchecked};
use kmem_slubq::Level;

/// Verifies every free and every list, and ends the program with a line when one is wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dies;

impl Mode for Dies {
    const CHECKED: bool = true;
    fn fault(fault: Fault, address: usize) {
        die(fault, address, "slob")
    }
}

/// A heap over the system's pages behind kmem's lock.
#[derive(Debug)]
pub struct Heap<M, B>(Lock<kmem_slob::Slob<OsSource, M, B>, { Rank::Shard.of() }>);

impl<M: Mode, B: Book> Heap<M, B> {
    const fn new() -> Self {
        Self(Lock::new(kmem_slob::Slob::over(&OsSource)))
    }

    /// Where its memory is.
    #[must_use]
    pub fn stats(&self) -> kmem_slob::Stats {
        self.0.lock().stats()
    }

    /// Walks its invariants.
    ///
    /// # Errors
    /// The first one that is broken.
    pub fn check(&self) -> Result<(), kmem_slob::Broken> {
        self.0.lock().check()
    }
}

// SAFETY: the heap's blocks are as large and aligned as their layout says, and nobody else's. Nothing unwinds.
unsafe impl<M: Mode, B: Book> GlobalAlloc for Heap<M, B> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.0.lock().dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { self.0.lock().realloc(block, layout, bytes) }
    }
}

/// The layout of a class's objects.
fn layout(class: Class) -> Layout {
    let size = class.size();
    // SAFETY: a power of two; sizes of classes are small.
    unsafe { Layout::from_size_align_unchecked(size, (size & size.wrapping_neg()).min(kmem_slob::config::PAGE)) }
}

/// What the adapter asks a back end for where that serves whole layouts: nearly nothing.
macro_rules! backend {
    ($(#[$attribute:meta])* $name:ident, $mode:ty, $book:ty) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        impl $name {
            /// The process's heap.
            #[must_use]
            pub fn get() -> &'static Heap<$mode, $book> {
                static HEAP: Heap<$mode, $book> = Heap::new();
                &HEAP
            }
        }

        // SAFETY: the heap keeps the promise of every layout.
        unsafe impl Backend for $name {
            #[inline(always)]
            fn whole() -> Option<&'static dyn GlobalAlloc> {
                Some(Self::get())
            }

            fn start(_settings: &Settings) -> bool {
                true
            }

            fn alloc_fast(class: Class) -> *mut u8 {
                // SAFETY: no class is of size 0.
                unsafe { Self::get().alloc(layout(class)) }
            }

            fn alloc_slow(_class: Class) -> *mut u8 {
                null_mut()
            }

            unsafe fn free(class: Class, object: *mut u8) {
                // SAFETY: the caller's.
                unsafe { Self::get().dealloc(object, layout(class)) }
            }

            fn pages() -> &'static Pages {
                static NONE: Pages = Pages::new(&OsSource);
                &NONE
            }

            fn trim(_level: Level) -> usize {
                let mut heap = Self::get().0.lock();
                heap.trim()
            }

            fn tick() {}

            fn fork_watch() -> &'static AtomicU32 {
                static WATCH: AtomicU32 = AtomicU32::new(0);
                &WATCH
            }

            fn prepare_fork() {
                Self::get().0.acquire();
            }

            unsafe fn after_fork(_child: bool) {
                // SAFETY: the caller's.
                unsafe { Self::get().0.release() }
            }
        }
    };
}

backend!(
    /// First fit for small systems: the lowest footprint, behind one lock. Knobs mean nothing to it.
    ///
    /// ```
    /// #[global_allocator]
    /// static ALLOCATOR: kmem::Kmem<kmem::Slob> = kmem::Kmem::over();
    ///
    /// assert_eq!(vec![1, 2, 3].iter().sum::<i32>(), 6);
    /// ```
    Slob,
    Unchecked,
    Lists
);

backend!(
    /// [`Slob`] that verifies what its program does.
    CheckedSlob,
    Dies,
    Lists
);

backend!(
    /// [`Slob`] with [`Marks`]: two to four times as fast, for one or two percent of the memory and some resident pages more.
    MarkedSlob,
    Unchecked,
    Marks
);

backend!(
    /// [`MarkedSlob`] that verifies what its program does.
    CheckedMarkedSlob,
    Dies,
    Marks
);
