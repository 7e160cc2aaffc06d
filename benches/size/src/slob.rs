//! kmem-slob.
use crate::{Memory, SIZE};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
struct H(UnsafeCell<kmem_slob::Heap<kmem_slob::Fixed,kmem_slob::Unchecked>>);
unsafe impl Sync for H{}
static mut MEMORY: Memory = Memory([0; SIZE]);
#[global_allocator]
static HEAP: H = H(UnsafeCell::new(kmem_slob::Heap::new(unsafe { kmem_slob::Fixed::from_raw((&raw mut MEMORY).cast(), SIZE) })));
unsafe impl GlobalAlloc for H {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 { unsafe { (*self.0.get()).alloc(layout) } }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) { unsafe { (*self.0.get()).dealloc(p, l) } }
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 { unsafe { (*self.0.get()).realloc(p, l, n) } }
}
