//! talc, for one thread.

use crate::common::{LEN, memory};
use core::alloc::{GlobalAlloc, Layout};
use talc::DefaultBinning;
use talc::cell::TalcCell;
use talc::source::Manual;

use crate::common::Lazy;

struct Heap(Lazy<()>, TalcCell<Manual, DefaultBinning>);
// SAFETY: one thread.
unsafe impl Sync for Heap {}
#[global_allocator]
static HEAP: Heap = Heap(Lazy::new(()), TalcCell::new(Manual));

// SAFETY: forwards to the allocator.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: memory of the heap's.
        self.0.get(|()| unsafe { _ = self.1.claim(memory(), LEN) });
        // SAFETY: the caller's.
        unsafe { self.1.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.1.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { self.1.realloc(block, layout, bytes) }
    }
}
