//! A heap behind a lock of the user's: what a `#[global_allocator]` is made of.

use crate::book::{Book, Lists};
use crate::fixed::Fixed;
use crate::ground::Ground;
use crate::grow::{Grow, More};
use crate::heap::Heap;
use crate::mode::Mode;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;

/// A lock without what it protects, as `lock_api::RawMutex` has it: a spin lock, a critical section, a mutex of the system.
///
/// # Safety
/// Between [`Self::lock`] and [`Self::unlock`] nobody else comes back from `lock`, interrupt handlers that allocate included.
pub unsafe trait RawLock {
    /// Takes the lock.
    fn lock(&self);

    /// Releases it.
    ///
    /// # Safety
    /// The caller has taken it.
    unsafe fn unlock(&self);
}

/// No lock, for a program in which nobody else can come.
#[derive(Debug)]
pub struct Alone(());

impl Alone {
    /// The promise.
    ///
    /// # Safety
    /// One thread uses the heap, and no handler that interrupts it does.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY: the promise of `new`.
unsafe impl RawLock for Alone {
    fn lock(&self) {}
    unsafe fn unlock(&self) {}
}

/// A heap that can be shared.
#[derive(Debug)]
pub struct Shared<L, G, M, B = Lists> {
    lock: L,
    heap: UnsafeCell<Heap<G, M, B>>,
}

// SAFETY: the heap is only reached under the lock.
unsafe impl<L: RawLock + Sync, G: Send, M, B> Sync for Shared<L, G, M, B> {}

impl<L: RawLock, G: Ground, M: Mode, B: Book> Shared<L, G, M, B> {
    /// A heap on `ground` behind `lock`.
    pub const fn with(lock: L, ground: G) -> Self {
        Self { lock, heap: UnsafeCell::new(Heap::new(ground)) }
    }

    /// Calls `f` with the heap, locked. `f` must not unwind.
    #[inline]
    pub fn locked<R>(&self, f: impl FnOnce(&mut Heap<G, M, B>) -> R) -> R {
        self.lock.lock();
        // SAFETY: locked.
        let result = f(unsafe { &mut *self.heap.get() });
        // SAFETY: taken above.
        unsafe { self.lock.unlock() };
        result
    }
}

impl<L: RawLock, M: Mode, B: Book> Shared<L, Fixed, M, B> {
    /// A heap in `buffer`.
    pub const fn new(lock: L, buffer: &'static mut [u8]) -> Self {
        Self::with(lock, Fixed::new(buffer))
    }
}

impl<L: RawLock, M: Mode, B: Book> Shared<L, Grow, M, B> {
    /// A heap that grows by `more`.
    ///
    /// # Safety
    /// That of [`Grow::new`].
    pub const unsafe fn growing(lock: L, more: More) -> Self {
        // SAFETY: the caller's.
        Self::with(lock, unsafe { Grow::new(more) })
    }
}

// SAFETY: the heap's blocks are as large and aligned as their layout says, and nobody else's. Nothing unwinds.
unsafe impl<L: RawLock, G: Ground, M: Mode, B: Book> GlobalAlloc for Shared<L, G, M, B> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.locked(|heap| heap.alloc(layout))
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        self.locked(|heap| unsafe { heap.dealloc(block, layout) });
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        self.locked(|heap| unsafe { heap.realloc(block, layout, bytes) })
    }
}
