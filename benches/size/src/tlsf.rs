//! embedded-alloc's TlsfHeap; its critical section costs nothing here.

use crate::common::{LEN, Lazy, memory};
use core::alloc::{GlobalAlloc, Layout};
use embedded_alloc::TlsfHeap;

struct Heap(Lazy<()>, TlsfHeap);
#[global_allocator]
static HEAP: Heap = Heap(Lazy::new(()), TlsfHeap::empty());

// SAFETY: forwards to the allocator.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: memory of the heap's.
        self.0.get(|()| unsafe { self.1.init(memory().addr(), LEN) });
        // SAFETY: the caller's.
        unsafe { self.1.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.1.dealloc(block, layout) }
    }
}
