//! linked_list_allocator, for one thread.

use crate::common::{LEN, Lazy, memory};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

type List = linked_list_allocator::Heap;
struct Heap(Lazy<List>);
#[global_allocator]
static HEAP: Heap = Heap(Lazy::new(List::empty()));

impl Heap {
    fn get(&self) -> &mut List {
        // SAFETY: memory of the heap's.
        self.0.get(|heap| unsafe { heap.init(memory(), LEN) })
    }
}

// SAFETY: forwards to the allocator.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.get().allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.get().deallocate(NonNull::new_unchecked(block), layout) }
    }
}
