//! rpmalloc as its documentation asks for it: initialised once, each thread's heap set up before its first use and
//! given back when the thread ends.
//!
//! The crate `rpmalloc` does that by replacing `pthread_create`, which would give a heap to every thread of every
//! other contestant in this binary too. Its low-level crate has no GlobalAlloc, hence this one.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    /// Declared here because the crate's own declaration leaves out the argument.
    fn rpmalloc_thread_finalize(release_caches: c_int);
}

static KEY: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// No destructor, so this is a plain word in the thread's static block.
    static HAS_HEAP: Cell<bool> = const { Cell::new(false) };
}

/// Called once, before the first allocation.
pub(crate) fn start() {
    let mut key = 0;
    // SAFETY: called once and first, as rpmalloc asks; `key` is valid for the write.
    let refused = unsafe {
        rpmalloc_sys::rpmalloc_initialize();
        libc::pthread_key_create(&mut key, Some(thread_end))
    };
    if refused != 0 {
        // SAFETY: abort may be called anywhere; there is no way to report from inside the first allocation.
        unsafe { libc::abort() }
    }
    KEY.store(key, Ordering::Relaxed);
}

/// Gives the heap back. An allocation by a later destructor of the same thread sets a new one up, and the key with it.
extern "C" fn thread_end(_: *mut c_void) {
    HAS_HEAP.set(false);
    // SAFETY: runs on the thread whose heap it is.
    unsafe { rpmalloc_thread_finalize(1) }
}

#[cold]
#[inline(never)]
fn thread_start() {
    // SAFETY: the allocator is initialised (see `start`); a key's value may be any non-null pointer.
    unsafe {
        rpmalloc_sys::rpmalloc_thread_initialize();
        libc::pthread_setspecific(KEY.load(Ordering::Relaxed), ptr::dangling());
    }
    HAS_HEAP.set(true);
}

#[inline]
fn ensure_heap() {
    if !HAS_HEAP.get() {
        thread_start();
    }
}

/// rpmalloc behind the trait.
pub(crate) struct RpMalloc;

// SAFETY: rpmalloc's aligned functions keep the contract of GlobalAlloc; each thread has its heap before it calls one.
unsafe impl GlobalAlloc for RpMalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ensure_heap();
        // SAFETY: the thread has a heap.
        unsafe { rpmalloc_sys::rpaligned_alloc(layout.align(), layout.size()).cast() }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ensure_heap();
        // SAFETY: the thread has a heap.
        unsafe { rpmalloc_sys::rpaligned_calloc(layout.align(), 1, layout.size()).cast() }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, _: Layout) {
        ensure_heap();
        // SAFETY: the thread has a heap, and `ptr` came from this allocator.
        unsafe { rpmalloc_sys::rpfree(ptr.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ensure_heap();
        // SAFETY: the thread has a heap, and `ptr` came from this allocator with this layout.
        unsafe { rpmalloc_sys::rpaligned_realloc(ptr.cast(), layout.align(), new_size, layout.size(), 0).cast() }
    }
}
