//! For callers that do not say how large what they free is: as kmalloc did, a header in front holds the size.

use crate::book::Book;
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use core::alloc::Layout;
use core::ptr::null_mut;

/// Bytes of the header, and alignment of what follows it.
pub const HEADER: usize = 8;

/// The layout of a block with its header; nothing if there is no such size.
fn with_header(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(HEADER)?, HEADER).ok()
}

impl<G: Ground, M: Mode, B: Book> Heap<G, M, B> {
    /// Memory for `bytes`, aligned to [`HEADER`]; null if there is none.
    pub fn malloc(&mut self, bytes: usize) -> *mut u8 {
        let Some(layout) = with_header(bytes) else { return null_mut() };
        let at = self.alloc(layout);
        if at.is_null() {
            return at;
        }
        // SAFETY: a fresh block with room for the header, aligned to it.
        unsafe { at.cast::<u64>().write(bytes as u64) };
        at.wrapping_add(HEADER)
    }

    /// Frees what [`Self::malloc`] or [`Self::resize`] gave; null is nothing.
    ///
    /// # Safety
    /// It came from there, from this heap, and is dead.
    pub unsafe fn free(&mut self, block: *mut u8) {
        if block.is_null() {
            return;
        }
        // SAFETY: the caller's: there is a header in front, which says how it was allocated.
        unsafe {
            let layout = Layout::from_size_align_unchecked(Self::size_of(block) + HEADER, HEADER);
            self.dealloc(block.wrapping_sub(HEADER), layout);
        }
    }

    /// Bytes asked for.
    ///
    /// # Safety
    /// As [`Self::free`], and not null.
    #[must_use]
    pub unsafe fn size_of(block: *mut u8) -> usize {
        // SAFETY: the caller's.
        (unsafe { block.wrapping_sub(HEADER).cast::<u64>().read() }) as usize
    }

    /// Makes a block `bytes` long; null leaves it as it is.
    ///
    /// # Safety
    /// As [`Self::free`].
    pub unsafe fn resize(&mut self, block: *mut u8, bytes: usize) -> *mut u8 {
        if block.is_null() {
            return self.malloc(bytes);
        }
        let Some(new) = with_header(bytes) else { return null_mut() };
        // SAFETY: the caller's.
        unsafe {
            let old = Layout::from_size_align_unchecked(Self::size_of(block) + HEADER, HEADER);
            let at = self.realloc(block.wrapping_sub(HEADER), old, new.size());
            if at.is_null() {
                return at;
            }
            at.cast::<u64>().write(bytes as u64);
            at.wrapping_add(HEADER)
        }
    }
}
