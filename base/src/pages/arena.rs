//! An arena: one reservation of address space, with tables of its pages in front of them.
//!
//! ```text
//! | marks | class bytes | descriptors ...                    | pages ...                  |
//!   all writable          writable as far as the limit needs   base            ^limit (writable)
//! ```
//!
//! The tables grow from near the reservation's start, so that those of a small heap lie close together: few page tables of the
//! system's, and one call makes them writable.

use super::dirt::Dirt;
use super::marks::Marks;
use super::page::Page;
use super::runs::Runs;
use crate::config::{COMMIT_MAX_PAGES, COMMIT_MIN_PAGES, HUGE_PAGE, PAGE_SHIFT, PAGE_SIZE};
use crate::source::PageSource;
use crate::sync::{AtomicPtr, AtomicU8, AtomicUsize, Ordering, begin, const_fn};
use core::ptr::{NonNull, null_mut};

/// The part that is read without a lock. Written once, before the arena counts; only the limit grows.
#[derive(Debug)]
pub(super) struct Arena {
    base: AtomicPtr<u8>,
    /// Bytes that are writable and whose table entries exist.
    limit: AtomicUsize,
    pages: AtomicPtr<Page>,
    classes: AtomicPtr<AtomicU8>,
    marks: AtomicPtr<Marks>,
    /// Pages reserved.
    len: AtomicUsize,
}

/// Where the class bytes of an arena of `len` pages begin, in bytes from its marks.
const fn classes_at(len: usize) -> usize {
    len.div_ceil(64) * size_of::<Marks>()
}

/// The same of its descriptors.
const fn pages_at(len: usize) -> usize {
    (classes_at(len) + len * size_of::<AtomicU8>()).next_multiple_of(align_of::<Page>())
}

/// Bytes of tables that must be writable before the first `pages` pages of `len` are.
const fn tables(len: usize, pages: usize) -> usize {
    (pages_at(len) + pages * size_of::<Page>()).next_multiple_of(PAGE_SIZE)
}

impl Arena {
    const_fn! {
        /// No arena yet.
        pub(super) const fn empty() -> Self {
            Self {
                base: AtomicPtr::new(null_mut()),
                limit: AtomicUsize::new(0),
                pages: AtomicPtr::new(null_mut()),
                classes: AtomicPtr::new(null_mut()),
                marks: AtomicPtr::new(null_mut()),
                len: AtomicUsize::new(0),
            }
        }
    }

    /// Reserves `len` pages and their tables. Nothing is writable yet.
    pub(super) fn reserve(&self, source: &dyn PageSource, len: usize) -> Option<Runs> {
        // Two MiB so that huge pages can lie in it; a small arena does not waste address space on that.
        let align = if len >= 1024 { HUGE_PAGE } else { PAGE_SIZE };
        let front = tables(len, len).next_multiple_of(align);
        // A multiple of the alignment: newer kernels then align the mapping by themselves.
        let start = source.reserve((front + len * PAGE_SIZE).next_multiple_of(align), align)?.as_ptr();
        // SAFETY: inside the reservation, by the sums above.
        let (classes, pages, base) = unsafe { (start.add(classes_at(len)), start.add(pages_at(len)), start.add(front)) };
        self.marks.store(start.cast(), Ordering::Relaxed);
        self.classes.store(classes.cast(), Ordering::Relaxed);
        self.pages.store(pages.cast(), Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.base.store(base, Ordering::Relaxed);
        // SAFETY: the table covers `len` places, is zero once committed, and only places below the limit are used.
        let free = unsafe { Marks::free(start.cast()) };
        Some(Runs::new(free, self.dirt(), base.addr() >> PAGE_SHIFT))
    }

    /// The dirtiness of this arena's pages.
    pub(super) fn dirt(&self) -> Dirt {
        // SAFETY: the table covers every page below the limit, and no other is asked about.
        unsafe { Dirt::new(self.marks.load(Ordering::Relaxed)) }
    }

    /// Makes the first `pages` pages and their table entries writable, and some more to save calls; with `huge` pages if it can be.
    /// Under the pages lock.
    pub(super) fn commit(&self, source: &dyn PageSource, pages: usize, huge: bool) -> bool {
        let (limit, len) = (self.limit.load(Ordering::Relaxed) >> PAGE_SHIFT, self.len());
        if pages <= limit {
            return true;
        }
        let step = (limit / 8).clamp(COMMIT_MIN_PAGES, COMMIT_MAX_PAGES);
        let generous = pages.max(limit + step).min(len);
        pages <= len && (self.commit_to(source, limit, generous, huge) || self.commit_to(source, limit, pages, huge))
    }

    fn commit_to(&self, source: &dyn PageSource, limit: usize, target: usize, huge: bool) -> bool {
        let base = self.base.load(Ordering::Relaxed);
        let (from, to) = (if limit == 0 { 0 } else { tables(self.len(), limit) }, tables(self.len(), target));
        // Tables first: a page must never be writable without its descriptor. What a failed call leaves committed is committed
        // again later, which changes nothing.
        // SAFETY: inside the reservation.
        if to > from && !unsafe { commit(source, self.marks.load(Ordering::Relaxed).cast::<u8>().add(from), to - from) } {
            return false;
        }
        // SAFETY: inside the reservation.
        if !unsafe { commit(source, base.add(limit << PAGE_SHIFT), (target - limit) << PAGE_SHIFT) } {
            return false;
        }
        self.begin(limit, target);
        if huge {
            // SAFETY: just committed.
            unsafe { source.advise_huge(NonNull::new_unchecked(base.add(limit << PAGE_SHIFT)), (target - limit) << PAGE_SHIFT) };
        }
        // Release pairs with the Acquire in `page_at`: who sees the limit may read the tables below it.
        self.limit.store(target << PAGE_SHIFT, Ordering::Release);
        true
    }

    /// Makes the table entries of the pages from `limit` to `target`, and the words that begin there.
    fn begin(&self, limit: usize, target: usize) {
        let words = limit.div_ceil(64)..target.div_ceil(64);
        // SAFETY: just committed, so zeroed, and below no limit that anybody has seen.
        unsafe {
            begin(self.pages.load(Ordering::Relaxed).add(limit), target - limit, Page::new);
            begin(self.classes.load(Ordering::Relaxed).add(limit), target - limit, || AtomicU8::new(0));
            begin(self.marks.load(Ordering::Relaxed).add(words.start), words.len(), Marks::new);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The page that holds `address`, if it is in the writable part of this arena.
    #[inline]
    pub(super) fn page_at(&self, address: usize) -> Option<&'static Page> {
        let offset = address.wrapping_sub(self.base.load(Ordering::Relaxed).addr());
        // Acquire pairs with the Release in `commit_to`.
        if offset >= self.limit.load(Ordering::Acquire) {
            return None;
        }
        Some(self.page(offset >> PAGE_SHIFT))
    }

    /// Descriptor of page `index`, below the limit.
    #[inline]
    pub(super) fn page(&self, index: usize) -> &'static Page {
        // SAFETY: the table is writable up to the limit and never unmapped.
        unsafe { &*self.pages.load(Ordering::Relaxed).add(index) }
    }

    /// Index of a page of this arena.
    pub(super) fn index(&self, page: &Page) -> Option<usize> {
        let offset = core::ptr::from_ref(page).addr().wrapping_sub(self.pages.load(Ordering::Relaxed).addr());
        (offset < self.len() * size_of::<Page>()).then_some(offset / size_of::<Page>())
    }

    /// Class byte of the page that holds `address`, if it is in the writable part of this arena.
    #[inline(always)]
    pub(super) fn class_at(&self, address: usize) -> Option<u8> {
        let offset = address.wrapping_sub(self.base.load(Ordering::Relaxed).addr());
        // Acquire pairs with the Release in `commit_to`.
        if offset >= self.limit.load(Ordering::Acquire) {
            return None;
        }
        Some(self.class(offset >> PAGE_SHIFT).load(Ordering::Relaxed))
    }

    /// Class byte of page `index`, below the limit.
    #[inline]
    pub(super) fn class(&self, index: usize) -> &'static AtomicU8 {
        // SAFETY: as for `page`.
        unsafe { &*self.classes.load(Ordering::Relaxed).add(index) }
    }

    /// First byte of page `index`.
    pub(super) fn byte(&self, index: usize) -> *mut u8 {
        // SAFETY: `index` is a page of this arena.
        unsafe { self.base.load(Ordering::Relaxed).add(index << PAGE_SHIFT) }
    }

    #[inline]
    pub(super) fn base(&self) -> usize {
        self.base.load(Ordering::Relaxed).addr()
    }
}

/// # Safety
/// As [`PageSource::commit`].
unsafe fn commit(source: &dyn PageSource, at: *mut u8, len: usize) -> bool {
    // SAFETY: the caller's; a pointer into a reservation is not null.
    unsafe { source.commit(NonNull::new_unchecked(at), len) }
}
