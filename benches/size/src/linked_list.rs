//! linked_list_allocator, for one thread.

use crate::{Memory, SIZE};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};
use linked_list_allocator::Heap;

struct List(UnsafeCell<Heap>);
// SAFETY: one thread.
unsafe impl Sync for List {}
static mut MEMORY: Memory = Memory([0; SIZE]);
#[global_allocator]
static HEAP: List = List(UnsafeCell::new(Heap::empty()));

// SAFETY: forwards to the allocator.
unsafe impl GlobalAlloc for List {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread; the memory is nobody else's.
        unsafe {
            let heap = &mut *self.0.get();
            if heap.size() == 0 {
                heap.init((&raw mut MEMORY).cast(), SIZE);
            }
            heap.allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
        }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { (*self.0.get()).deallocate(NonNull::new_unchecked(block), layout) }
    }
}
