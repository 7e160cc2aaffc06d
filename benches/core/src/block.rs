//! A raw block of the global allocator that gives itself back: what a `Box` is, with its size chosen at run time.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Alignment of every block: that of most Rust structures.
const ALIGN: usize = 8;

/// Distance of the bytes that bring in a whole block: the smallest page of the platforms that this runs on.
const PAGE: usize = 4096;

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

impl Block {
    /// Bytes asked for.
    pub(crate) fn size(&self) -> usize {
        self.layout.size()
    }

    /// Its address and size; whoever has them must make a block of them again, or leak it.
    pub(crate) fn into_raw(self) -> (NonNull<u8>, usize) {
        let block = ManuallyDrop::new(self);
        (block.start, block.layout.size())
    }

    /// Back from address and size.
    ///
    /// # Safety
    /// They come from [`into_raw`](Self::into_raw), and are given once.
    pub(crate) unsafe fn from_raw(start: NonNull<u8>, size: usize) -> Self {
        // SAFETY: the size is that of a block, hence of a valid layout.
        Self { start, layout: unsafe { Layout::from_size_align_unchecked(size, ALIGN) } }
    }

    /// Writes all of it.
    pub(crate) fn fill(&mut self, byte: u8) {
        // SAFETY: the block is live and as long as its layout says.
        unsafe { self.start.write_bytes(byte, self.layout.size()) };
        black_box(self.start);
    }

    /// Writes the first `bytes` of it, one in each memory page.
    pub(crate) fn touch(&mut self, bytes: usize) {
        for offset in (0..bytes.min(self.layout.size())).step_by(PAGE) {
            // SAFETY: the offset is below the block's size. Volatile: nobody reads it again.
            unsafe { self.start.add(offset).write_volatile(1) };
        }
    }

    /// Writes every byte and reads it back, `times` over.
    pub(crate) fn exercise(&mut self, times: usize) {
        for _ in 0..times {
            for offset in 0..self.layout.size() {
                // SAFETY: the offset is below the block's size.
                let byte = unsafe { self.start.add(offset) };
                // SAFETY: as above; the byte is written before it is read. Volatile: each access is one to memory.
                unsafe {
                    byte.write_volatile(offset as u8);
                    byte.read_volatile();
                }
            }
        }
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

    #[test]
    fn writes_end_at_the_size() {
        let mut block = Block::new(2 * PAGE + 1);
        block.fill(7);
        block.touch(usize::MAX);
        // SAFETY: the block is live, and `fill` has initialised all of it.
        let bytes = unsafe { std::slice::from_raw_parts(block.start.as_ptr(), block.layout.size()) };
        let touched: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] == 1).collect();
        assert_eq!(touched, [0, PAGE, 2 * PAGE]);
        let mut small = Block::new(3);
        small.exercise(2);
        // SAFETY: as above, after `exercise`.
        assert_eq!(unsafe { std::slice::from_raw_parts(small.start.as_ptr(), 3) }, [0, 1, 2]);
    }
}
