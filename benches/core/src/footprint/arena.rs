//! A buffer for heaps, and the blocks that a run holds.

use std::alloc::Layout;

use super::peers::{Heap, Peer};

/// Memory of the system's for one heap after the other.
pub(super) struct Buffer {
    at: *mut u8,
    len: usize,
}

/// Alignment of every buffer.
const ALIGN: usize = 4096;

impl Buffer {
    pub(super) fn new(len: usize) -> Self {
        let layout = Layout::from_size_align(len, ALIGN).expect("a buffer that fits");
        // SAFETY: not empty. Never freed before `drop`.
        let at = unsafe { std::alloc::alloc(layout) };
        assert!(!at.is_null(), "no memory for a buffer of {len} bytes");
        // Every page of it is there before any clock starts.
        // SAFETY: the buffer's own bytes.
        unsafe { at.write_bytes(0xa5, len) };
        Self { at, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where it is, and its length: for a heap that is made elsewhere.
    pub(super) fn parts(&mut self) -> (*mut u8, usize) {
        (self.at, self.len)
    }

    /// A heap in the first `len` bytes. The one before must be gone.
    pub(super) fn heap(&mut self, peer: &Peer, len: usize) -> Box<dyn Heap> {
        assert!(len <= self.len);
        // SAFETY: the buffer's own bytes, which outlive every heap: callers drop the heap first.
        unsafe { (peer.make)(self.at, len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let layout = Layout::from_size_align(self.len, ALIGN).expect("as in `new`");
        // SAFETY: allocated in `new`.
        unsafe { std::alloc::dealloc(self.at, layout) };
    }
}

/// A live block.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) at: *mut u8,
    pub(super) layout: Layout,
}

impl Block {
    pub(super) fn new(heap: &mut dyn Heap, layout: Layout) -> Option<Self> {
        let at = heap.alloc(layout);
        (!at.is_null()).then_some(Self { at, layout })
    }

    /// Resizes it; false leaves it as it is.
    pub(super) fn resize(&mut self, heap: &mut dyn Heap, size: usize) -> bool {
        // SAFETY: a live block of that heap's.
        let at = unsafe { heap.realloc(self.at, self.layout, size) };
        if at.is_null() {
            return false;
        }
        let layout = Layout::from_size_align(size, self.layout.align()).expect("a size that fits");
        *self = Self { at, layout };
        true
    }

    pub(super) fn free(self, heap: &mut dyn Heap) {
        // SAFETY: a live block of that heap's, given up here.
        unsafe { heap.dealloc(self.at, self.layout) }
    }
}
