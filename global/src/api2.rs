//! `Allocator` of the allocator-api2 crate, for collections that take an allocator on stable Rust.

use crate::backend::Backend;
use crate::kmem::Kmem;
use allocator_api2::alloc::{AllocError, Allocator};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

fn block(at: *mut u8, size: usize) -> Result<NonNull<[u8]>, AllocError> {
    NonNull::new(at).map(|at| NonNull::slice_from_raw_parts(at, size)).ok_or(AllocError)
}

fn dangling(layout: Layout) -> NonNull<[u8]> {
    let at = NonNull::without_provenance(core::num::NonZero::new(layout.align()).unwrap_or(core::num::NonZero::<usize>::MIN));
    NonNull::slice_from_raw_parts(at, 0)
}

// SAFETY: `GlobalAlloc`'s promises, and every value of this type shares one heap.
unsafe impl<B: Backend> Allocator for Kmem<B> {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(dangling(layout));
        }
        // SAFETY: the size is not 0.
        block(unsafe { self.alloc(layout) }, layout.size())
    }

    #[inline]
    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(dangling(layout));
        }
        // SAFETY: the size is not 0.
        block(unsafe { self.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn deallocate(&self, at: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: the caller's: allocated here with this layout.
            unsafe { self.dealloc(at.as_ptr(), layout) };
        }
    }

    #[inline]
    unsafe fn grow(&self, at: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's.
        unsafe { self.change(at, old, new) }
    }

    #[inline]
    unsafe fn shrink(&self, at: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's.
        unsafe { self.change(at, old, new) }
    }
}

impl<B: Backend> Kmem<B> {
    /// # Safety
    /// `at` was allocated with `old`.
    unsafe fn change(&self, at: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() != 0 && new.size() != 0 && old.align() == new.align() {
            // SAFETY: allocated with `old`; the new size is a layout's.
            return block(unsafe { self.realloc(at.as_ptr(), old, new.size()) }, new.size());
        }
        let moved = self.allocate(new)?;
        // SAFETY: two blocks of at least that many bytes; the old one is given up.
        unsafe {
            moved.cast::<u8>().copy_from_nonoverlapping(at, old.size().min(new.size()));
            self.deallocate(at, old);
        }
        Ok(moved)
    }
}
