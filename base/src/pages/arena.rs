//! An arena: one reservation of address space, and beside it a table with a descriptor and a class byte for each of its pages.
//!
//! ```text
//! | pages ...                          | descriptors | class bytes | free | young | old | summary |
//!   base            ^limit (writable)    each table is writable as far as the limit needs it
//! ```

use super::dirt::Dirt;
use super::page::Page;
use super::runs::Runs;
use crate::bitmap::Bitmap2;
use crate::config::{COMMIT_MAX_PAGES, COMMIT_MIN_PAGES, HUGE_PAGE, PAGE_SHIFT, PAGE_SIZE};
use crate::source::PageSource;
use crate::sync::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, begin, const_fn};
use core::ptr::{NonNull, null_mut};

/// The part that is read without a lock. Written once, before the arena counts; only the limit grows.
#[derive(Debug)]
pub(super) struct Arena {
    base: AtomicPtr<u8>,
    /// Bytes that are writable and whose table entries exist.
    limit: AtomicUsize,
    pages: AtomicPtr<Page>,
    classes: AtomicPtr<AtomicU8>,
    young: AtomicPtr<AtomicU64>,
    old: AtomicPtr<AtomicU64>,
    /// Pages reserved.
    len: AtomicUsize,
}

/// Bytes per table for `pages` pages, in the order of the picture above.
const fn tables(pages: usize) -> [usize; 6] {
    let words = pages.div_ceil(64);
    let sizes = [pages * size_of::<Page>(), pages * size_of::<AtomicU8>(), words * 8, words * 8, words * 8, words.div_ceil(64) * 8];
    let mut i = 0;
    let mut rounded = [0; 6];
    while i < sizes.len() {
        rounded[i] = sizes[i].next_multiple_of(PAGE_SIZE);
        i += 1;
    }
    rounded
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
                young: AtomicPtr::new(null_mut()),
                old: AtomicPtr::new(null_mut()),
                len: AtomicUsize::new(0),
            }
        }
    }

    /// Reserves `len` pages and their tables. Nothing is writable yet.
    pub(super) fn reserve(&self, source: &dyn PageSource, len: usize) -> Option<Runs> {
        let total = len * PAGE_SIZE + tables(len).iter().sum::<usize>();
        // Two MiB so that huge pages can lie in it; a small arena does not waste address space on that.
        let align = if len >= 1024 { HUGE_PAGE } else { PAGE_SIZE };
        let base = source.reserve(total, align)?;
        let table = |index: usize| {
            let before: usize = tables(len).iter().take(index).sum();
            // SAFETY: inside the reservation, by the sum above.
            unsafe { base.as_ptr().add(len * PAGE_SIZE + before) }
        };
        self.pages.store(table(0).cast(), Ordering::Relaxed);
        self.classes.store(table(1).cast(), Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.base.store(base.as_ptr(), Ordering::Relaxed);
        self.young.store(table(3).cast(), Ordering::Relaxed);
        self.old.store(table(4).cast(), Ordering::Relaxed);
        // SAFETY: the tables cover `len` places, are zero once committed, and only places below the limit are used.
        let free = unsafe { Bitmap2::new(table(2).cast(), table(5).cast()) };
        Some(Runs::new(free, self.dirt(), base.as_ptr().addr() >> PAGE_SHIFT))
    }

    /// The dirtiness of this arena's pages.
    pub(super) fn dirt(&self) -> Dirt {
        // SAFETY: the tables cover every page below the limit, and no other is asked about.
        unsafe { Dirt::new(self.young.load(Ordering::Relaxed), self.old.load(Ordering::Relaxed)) }
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
        let (old, new, all) = (tables(limit), tables(target), tables(self.len()));
        let mut start = self.len() * PAGE_SIZE;
        // Tables first: a page must never be writable without its descriptor. What a failed call leaves committed is committed
        // again later, which changes nothing.
        for index in 0..new.len() {
            let from = if limit == 0 { 0 } else { old[index] };
            // SAFETY: inside the reservation.
            if new[index] > from && !unsafe { commit(source, base.add(start + from), new[index] - from) } {
                return false;
            }
            start += all[index];
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
        let tables = tables(self.len());
        let words = limit.div_ceil(64)..target.div_ceil(64);
        let (free, summary) = (self.len() * PAGE_SIZE + tables[..2].iter().sum::<usize>(), tables[2..5].iter().sum::<usize>());
        let summaries = words.start.div_ceil(64)..words.end.div_ceil(64);
        let word = || AtomicU64::new(0);
        // SAFETY: just committed, so zeroed, and below no limit that anybody has seen.
        unsafe {
            begin(self.pages.load(Ordering::Relaxed).add(limit), target - limit, Page::new);
            begin(self.classes.load(Ordering::Relaxed).add(limit), target - limit, || AtomicU8::new(0));
            begin(self.young.load(Ordering::Relaxed).add(words.start), words.len(), word);
            begin(self.old.load(Ordering::Relaxed).add(words.start), words.len(), word);
            let table = self.base.load(Ordering::Relaxed).add(free).cast::<AtomicU64>();
            begin(table.add(words.start), words.len(), word);
            begin(table.byte_add(summary).add(summaries.start), summaries.len(), word);
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
