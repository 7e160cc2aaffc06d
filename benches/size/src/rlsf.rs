//! rlsf, for one thread.

use crate::common::{LEN, Lazy, memory};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

type Tlsf = rlsf::Tlsf<'static, u32, u32, 20, 32>;
struct Heap(Lazy<Tlsf>);
#[global_allocator]
static HEAP: Heap = Heap(Lazy::new(Tlsf::new()));

impl Heap {
    fn get(&self) -> &mut Tlsf {
        // SAFETY: memory of the heap's.
        self.0.get(|heap| unsafe {
            _ = heap.insert_free_block_ptr(NonNull::slice_from_raw_parts(NonNull::new_unchecked(memory()), LEN))
        })
    }
}

// SAFETY: forwards to the allocator.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.get().allocate(layout).map_or(null_mut(), NonNull::as_ptr)
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.get().deallocate(NonNull::new_unchecked(block), layout.align()) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe {
            let new = Layout::from_size_align_unchecked(bytes, layout.align());
            self.get().reallocate(NonNull::new_unchecked(block), new).map_or(null_mut(), NonNull::as_ptr)
        }
    }
}
