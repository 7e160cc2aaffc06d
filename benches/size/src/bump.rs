//! Nothing is ever reused: what any program with an allocator has at least.

use crate::{Memory, SIZE};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;

struct Bump(Cell<usize>);
// SAFETY: one thread.
unsafe impl Sync for Bump {}
static mut MEMORY: Memory = Memory([0; SIZE]);
#[global_allocator]
static HEAP: Bump = Bump(Cell::new(0));

// SAFETY: what is handed out lies above all that was.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let at = (self.0.get() + layout.align() - 1) & !(layout.align() - 1);
        if layout.size() > SIZE - at {
            return core::ptr::null_mut();
        }
        self.0.set(at + layout.size());
        (&raw mut MEMORY).cast::<u8>().wrapping_add(at)
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
