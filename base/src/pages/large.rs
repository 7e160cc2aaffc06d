//! Blocks above the largest size class: runs of pages, or, from a threshold on, mappings of their own that `mremap` can grow.

use super::{Kind, Page, Pages, Thp};
use crate::config::{HUGE_PAGE, LARGE_ALIGN, PAGE_SHIFT, PAGE_SIZE};
use crate::fault::{Fault, die};
use crate::source::os_page;
use crate::sync::Ordering;
use core::ptr::{NonNull, null_mut};

/// What became of a block that was to change its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grown {
    /// It has the new size where it is, or was moved there with its contents.
    Done(*mut u8),
    /// It is unchanged; allocate, copy and free instead.
    Copy,
}

/// A block that has to move in order to grow gets a mapping of its own from one part in so many of the usual size on (2 MiB), as it may
/// grow again.
const GROWING_SHARE: usize = 16;

/// Pages that `size` bytes take, if that many can be counted.
fn pages_for(size: usize) -> Option<u32> {
    u32::try_from(size.div_ceil(PAGE_SIZE)).ok()
}

/// What the start of a block of `size` bytes is aligned to, whatever is asked for: see [`LARGE_ALIGN`].
fn start_align(size: usize) -> usize {
    (size / LARGE_ALIGN).clamp(PAGE_SIZE, HUGE_PAGE).checked_ilog2().map_or(PAGE_SIZE, |order| 1 << order)
}

impl Pages {
    /// Allocates `size` bytes (more than [`crate::config::MAX_SMALL`], or strangely aligned). Null if there is no memory.
    #[must_use]
    pub fn alloc_large(&self, size: usize, align: usize, zeroed: bool) -> *mut u8 {
        if size >= self.huge_threshold() {
            return self.alloc_huge(size, align, self.wants_huge(Thp::On));
        }
        let (Some(pages), Ok(align)) = (pages_for(size), u32::try_from(align >> PAGE_SHIFT)) else {
            return null_mut();
        };
        // The start is a wish: an alignment that nobody asked for takes address space that there may not be.
        let aligns = [align.max((start_align(size) >> PAGE_SHIFT) as u32), align];
        let run = if zeroed { self.alloc_zeroed_at(pages, aligns, Kind::Large) } else { self.alloc_at(pages, aligns, Kind::Large) };
        run.map_or(null_mut(), |run| run.address)
    }

    /// A mapping of its own; behind huge pages if it will be `dense`.
    fn alloc_huge(&self, size: usize, align: usize, dense: bool) -> *mut u8 {
        let Some(len) = size.checked_next_multiple_of(os_page()) else {
            return null_mut();
        };
        if !self.charge(len.div_ceil(PAGE_SIZE)) {
            return null_mut();
        }
        let made = self.huge.reserve(self.source()).and_then(|entry| {
            let best = if len < HUGE_PAGE { os_page() } else { HUGE_PAGE };
            // An alignment that nobody asked for takes address space that there may not be.
            let block = self.source().map(len, align.max(best)).or_else(|| self.source().map(len, align.max(os_page())));
            if let Some(block) = block
                && dense
            {
                // SAFETY: just mapped.
                unsafe { self.source().advise_huge(block, len) };
            }
            match block {
                Some(block) => self.huge.enter(entry, block, len),
                None => self.huge.put_back(entry),
            }
            block
        });
        let Some(block) = made else {
            self.uncharge(len);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return null_mut();
        };
        block.as_ptr()
    }

    fn uncharge(&self, len: usize) {
        self.used.fetch_sub(len.div_ceil(PAGE_SIZE), Ordering::Relaxed);
    }

    /// Frees a block from [`Self::alloc_large`] that was allocated with, or last grown to, `size` bytes.
    ///
    /// # Safety
    /// The block is dead. (A wrong address or size is found out and faults.)
    pub unsafe fn free_large(&self, block: *mut u8, size: usize) {
        if let Some(page) = self.page_of(block.addr()) {
            self.verify(page, block, size);
            // SAFETY: verified to be the first page of a large block, which is dead.
            return unsafe { self.free(page) };
        }
        let Some((entry, block, len)) = self.huge.remove(block.addr()) else {
            die(Fault::Foreign, block.addr(), "large block");
        };
        if size.next_multiple_of(os_page()) != len {
            die(Fault::WrongSize, block.as_ptr().addr(), "huge block");
        }
        // SAFETY: the whole mapping, dead, and no longer in the table.
        unsafe { self.source().unmap(block, len) };
        self.huge.put_back(entry);
        self.uncharge(len);
    }

    /// Faults unless `page` starts a large block at `block` of `size` bytes.
    fn verify(&self, page: &Page, block: *mut u8, size: usize) {
        let fault = match page.kind() {
            Kind::Large if page.address() != block.addr() => Fault::Misaligned,
            Kind::Large if pages_for(size) != Some(page.span()) => Fault::WrongSize,
            Kind::Large => return,
            Kind::Slab | Kind::Tail => Fault::WrongCache,
            Kind::Free if self.is_used(block.addr()) => Fault::Misaligned,
            Kind::Free | Kind::Idle => Fault::DoubleFree,
            Kind::Meta => Fault::Foreign,
        };
        die(fault, block.addr(), "large block");
    }

    /// Changes a large block from `old` to `new` bytes without copying, if it can: within its last page, into free pages behind
    /// it, or by moving page tables.
    ///
    /// # Safety
    /// The block is live, of `old` bytes, aligned to `align`; `new` is large too.
    #[must_use]
    pub unsafe fn resize_large(&self, block: *mut u8, old: usize, new: usize, align: usize) -> Grown {
        if let Some(page) = self.page_of(block.addr()) {
            self.verify(page, block, old);
            if new > old && new >= self.huge_threshold() {
                // SAFETY: the caller's.
                let moved = unsafe { self.promote(page, block, old, new, align) };
                if moved != Grown::Copy {
                    return moved;
                }
            }
            if pages_for(new).is_some_and(|pages| self.resize_run(page, pages)) {
                return Grown::Done(block);
            }
            if new > old && new >= self.huge_threshold() / GROWING_SHARE {
                // SAFETY: the caller's.
                return unsafe { self.promote(page, block, old, new, align) };
            }
            return Grown::Copy;
        }
        // SAFETY: the caller's.
        unsafe { self.resize_huge(block, new, align) }
    }

    /// Copies a growing block to a mapping of its own: it is the last time that it is copied.
    ///
    /// # Safety
    /// The block is live, of `old` bytes, and starts at `page`.
    unsafe fn promote(&self, page: &Page, block: *mut u8, old: usize, new: usize, align: usize) -> Grown {
        // Who makes a block larger has filled it, and will fill the rest.
        let moved = self.alloc_huge(new, align, self.is_dense(new));
        if moved.is_null() {
            return Grown::Copy;
        }
        // SAFETY: both are live and do not overlap, and the new block is the larger one; the old one is dead after that.
        unsafe {
            self.carry_over(page, block, old, moved);
            self.free(page);
        }
        Grown::Done(moved)
    }

    /// Copies a run's block piece by piece, and gives the memory of each piece back: else all of it would be there twice.
    ///
    /// # Safety
    /// `block` is the run at `page`, with `old` bytes to be copied to `to`, and dead once copied.
    unsafe fn carry_over(&self, page: &Page, block: *mut u8, old: usize, to: *mut u8) {
        const PIECE: usize = HUGE_PAGE >> PAGE_SHIFT;
        let pages = page.span() as usize;
        for at in (0..pages).step_by(PIECE) {
            let (offset, bytes) = (at << PAGE_SHIFT, PIECE.min(pages - at) << PAGE_SHIFT);
            // SAFETY: the caller's; the piece lies in the run, which starts at no null.
            unsafe {
                let from = block.add(offset);
                to.add(offset).copy_from_nonoverlapping(from, old.saturating_sub(offset).min(bytes));
                // Where it fails, it is there twice for a while. Its pages count as dirty either way, as those of a punched run do.
                let _gone = self.source().purge(NonNull::new_unchecked(from), bytes);
            }
        }
    }

    /// True if a block that has grown to `size` bytes is to lie behind huge pages: not one of some MiB, half of which may not be filled.
    fn is_dense(&self, size: usize) -> bool {
        size >= self.huge_threshold() && self.wants_huge(Thp::Auto)
    }

    fn resize_run(&self, page: &Page, pages: u32) -> bool {
        let Some((arena, start)) = self.locate(page) else {
            return false;
        };
        let (old_end, new_end) = (start + page.span() as usize, start + pages as usize);
        if new_end < old_end {
            page.set_span(pages);
            self.release(arena, &(new_end..old_end));
            return true;
        }
        if new_end == old_end {
            return true;
        }
        let more = old_end..new_end;
        if !self.charge(more.len()) {
            return false;
        }
        let mut state = self.state.lock();
        let fits = state.runs[arena].is_free(&more) && self.arenas[arena].commit(self.source(), new_end, self.wants_huge(Thp::On));
        if fits {
            state.runs[arena].claim(&more);
            drop(state);
            self.place(more.len());
            self.arenas[arena].dirt().refresh(&more, |_, _| ());
            page.set_span(pages);
        } else {
            drop(state);
            self.used.fetch_sub(more.len(), Ordering::Relaxed);
        }
        fits
    }

    /// # Safety
    /// As [`Self::resize_large`], for a block that is in no arena.
    unsafe fn resize_huge(&self, block: *mut u8, new: usize, align: usize) -> Grown {
        let Some(new_len) = new.checked_next_multiple_of(os_page()) else {
            return Grown::Copy;
        };
        let Some((entry, block, len)) = self.huge.remove(block.addr()) else {
            die(Fault::Foreign, block.addr(), "huge block");
        };
        let resized = if self.recharge(len, new_len) {
            // Moving keeps the alignment of an OS page and no more.
            // SAFETY: the whole mapping; nobody else can reach it, as it is out of the table.
            let resized = unsafe { self.source().remap(block, len, new_len, align <= os_page()) };
            if resized.is_none() {
                self.settle(new_len, len);
            }
            resized
        } else {
            None
        };
        match resized {
            Some(moved) => {
                // As in `promote`.
                if new_len > len && self.is_dense(new_len) {
                    // SAFETY: mapped, and still out of the table.
                    unsafe { self.source().advise_huge(moved, new_len) };
                }
                self.huge.enter(entry, moved, new_len);
                Grown::Done(moved.as_ptr())
            }
            None => {
                self.huge.enter(entry, block, len);
                Grown::Copy
            }
        }
    }

    /// Replaces the charge for `old` bytes by one for `new`, if the hard limit allows it.
    fn recharge(&self, old: usize, new: usize) -> bool {
        let (old_pages, new_pages) = (old.div_ceil(PAGE_SIZE), new.div_ceil(PAGE_SIZE));
        if new_pages > old_pages {
            return self.charge(new_pages - old_pages);
        }
        self.settle(old, new);
        true
    }

    fn settle(&self, old: usize, new: usize) {
        self.used.fetch_add(new.div_ceil(PAGE_SIZE), Ordering::Relaxed);
        self.used.fetch_sub(old.div_ceil(PAGE_SIZE), Ordering::Relaxed);
    }

    /// Usable bytes of the large block at `block`, if there is one.
    #[must_use]
    pub fn large_len(&self, block: *const u8) -> Option<usize> {
        match self.page_of(block.addr()) {
            Some(page) if page.kind() == Kind::Large && page.address() == block.addr() => {
                Some((page.span() as usize) << PAGE_SHIFT)
            }
            Some(_) => None,
            None => self.huge.len_of(block.addr()),
        }
    }
}
