//! buddy_system_allocator, for one thread.

use crate::common::{LEN, Lazy, memory};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

type Buddy = buddy_system_allocator::Heap<32>;
struct Heap(Lazy<Buddy>);
#[global_allocator]
static HEAP: Heap = Heap(Lazy::new(Buddy::new()));

impl Heap {
    fn get(&self) -> &mut Buddy {
        // SAFETY: memory of the heap's.
        self.0.get(|heap| unsafe { heap.init(memory().addr(), LEN) })
    }
}

// SAFETY: forwards to the allocator.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.get().alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.get().dealloc(NonNull::new_unchecked(block), layout) }
    }
}
