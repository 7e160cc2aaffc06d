//! dlmalloc, for one thread, over one buffer.

use crate::common::{LEN, memory};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::ptr::null_mut;

struct Once(Cell<bool>);
// SAFETY: one thread.
unsafe impl Send for Once {}

// SAFETY: hands out memory of the heap's, once.
unsafe impl dlmalloc::Allocator for Once {
    fn alloc(&self, _: usize) -> (*mut u8, usize, u32) {
        if self.0.replace(true) { (null_mut(), 0, 0) } else { (memory(), LEN, 0) }
    }
    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }
    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }
    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }
    fn can_release_part(&self, _: u32) -> bool {
        false
    }
    fn allocates_zeros(&self) -> bool {
        false
    }
    fn page_size(&self) -> usize {
        4096
    }
}

struct Heap(UnsafeCell<dlmalloc::Dlmalloc<Once>>);
// SAFETY: one thread.
unsafe impl Sync for Heap {}
#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(dlmalloc::Dlmalloc::new_with_allocator(Once(Cell::new(false)))));

// SAFETY: forwards to the allocator, for one thread.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { (*self.0.get()).free(block, layout.size(), layout.align()) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { (*self.0.get()).realloc(block, layout.size(), layout.align(), bytes) }
    }
}
