//! A raw block of the global allocator that gives itself back: what a `Box` is, with its size chosen at run time.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::hint::black_box;
use std::ptr::NonNull;

/// Alignment of every block: that of most Rust structures.
const ALIGN: usize = 8;

/// One live allocation.
pub(crate) struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block owns its memory; nothing ties it to the thread that allocated it.
unsafe impl Send for Block {}

impl Block {
    /// Allocates `size` bytes (at least 1) and writes the first, as a program that wants the memory does.
    #[inline]
    pub(crate) fn new(size: usize) -> Self {
        assert!(size != 0 && size < isize::MAX as usize / 2);
        // SAFETY: ALIGN is a power of two, and `size` rounded up stays below isize::MAX.
        let layout = unsafe { Layout::from_size_align_unchecked(size, ALIGN) };
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(black_box(memory)) else { handle_alloc_error(layout) };
        // SAFETY: the block has at least one byte and is not shared yet.
        unsafe { start.write(size as u8) };
        Self { start, layout }
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and dropped once.
        unsafe { dealloc(black_box(self.start.as_ptr()), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_its_first_byte() {
        let block = Block::new(300);
        // SAFETY: the block is live, and its first byte is initialised.
        assert_eq!(unsafe { block.start.read() }, 300_usize as u8);
        assert_eq!(block.layout.size(), 300);
    }
}
