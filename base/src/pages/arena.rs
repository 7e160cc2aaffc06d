//! An arena: one reservation of address space, with tables of its pages in front of them.
//!
//! ```text
//! |            ... descriptors | class bytes | marks | pages ...                  |
//!   writable as far as needed ^ all writable        base            ^limit (writable)
//! ```
//!
//! The descriptors grow downwards, so that everything of a small heap lies together: one page table of the system's, one call that makes
//! it writable, and the first descriptors and class bytes on one OS page.

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
    /// Descriptor of the first page; those of others lie below it.
    first: AtomicPtr<Page>,
    classes: AtomicPtr<AtomicU8>,
    marks: AtomicPtr<Marks>,
    /// Pages reserved at first: what the tables go by.
    len: AtomicUsize,
    /// Pages still reserved.
    room: AtomicUsize,
}

/// Offsets from the start of an arena's reservation.
#[derive(Clone, Copy)]
struct Plan {
    /// Where the descriptors end and the class bytes begin.
    middle: usize,
    marks: usize,
    /// The first page.
    base: usize,
}

/// Bytes of descriptors on the OS page that the first class bytes are on.
const SHARED: usize = 2048;

impl Plan {
    /// For `len` pages, in a reservation aligned to `align`.
    const fn new(len: usize, align: usize) -> Self {
        // The first descriptors lie behind a multiple of the alignment, and so on the page table that the rest begins on.
        let middle = (len * size_of::<Page>()).next_multiple_of(align) + PAGE_SIZE - SHARED;
        let marks = (middle + len * size_of::<AtomicU8>()).next_multiple_of(align_of::<Marks>());
        Self { middle, marks, base: (marks + len.div_ceil(64) * size_of::<Marks>()).next_multiple_of(PAGE_SIZE) }
    }

    /// What must be writable from here on for the descriptors of `pages` pages.
    const fn low(&self, pages: usize) -> usize {
        let low = self.middle - pages * size_of::<Page>();
        low - low % PAGE_SIZE
    }
}

/// Alignment of the reservation for `len` pages: page tables and huge pages begin at multiples of 2 MiB; a small arena does not waste
/// address space on that.
const fn align(len: usize) -> usize {
    if len >= 1024 { HUGE_PAGE } else { PAGE_SIZE }
}

impl Arena {
    const_fn! {
        /// No arena yet.
        pub(super) const fn empty() -> Self {
            Self {
                base: AtomicPtr::new(null_mut()),
                limit: AtomicUsize::new(0),
                first: AtomicPtr::new(null_mut()),
                classes: AtomicPtr::new(null_mut()),
                marks: AtomicPtr::new(null_mut()),
                len: AtomicUsize::new(0),
                room: AtomicUsize::new(0),
            }
        }
    }

    /// Reserves `len` pages and their tables. Nothing is writable yet.
    pub(super) fn reserve(&self, source: &dyn PageSource, len: usize) -> Option<Runs> {
        let (plan, align) = (Plan::new(len, align(len)), align(len));
        // A multiple of the alignment: newer kernels then align the mapping by themselves.
        let start = source.reserve((plan.base + len * PAGE_SIZE).next_multiple_of(align), align)?.as_ptr();
        // SAFETY: inside the reservation, by the sums of the plan.
        let (first, classes, marks, base) = unsafe {
            (start.add(plan.middle).cast::<Page>().sub(1), start.add(plan.middle), start.add(plan.marks), start.add(plan.base))
        };
        self.marks.store(marks.cast(), Ordering::Relaxed);
        self.classes.store(classes.cast(), Ordering::Relaxed);
        self.first.store(first, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.room.store(len, Ordering::Relaxed);
        self.base.store(base, Ordering::Relaxed);
        // SAFETY: the table covers `len` places, is zero once committed, and only places below the limit are used.
        let free = unsafe { Marks::free(marks.cast()) };
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
        let (limit, room) = (self.limit.load(Ordering::Relaxed) >> PAGE_SHIFT, self.room());
        if pages <= limit {
            return true;
        }
        let step = (limit / 8).clamp(COMMIT_MIN_PAGES, COMMIT_MAX_PAGES);
        let generous = pages.max(limit + step).min(room);
        pages <= room && (self.commit_to(source, limit, generous, huge) || self.commit_to(source, limit, pages, huge))
    }

    fn commit_to(&self, source: &dyn PageSource, limit: usize, target: usize, huge: bool) -> bool {
        let (base, plan) = (self.base.load(Ordering::Relaxed), Plan::new(self.len(), align(self.len())));
        let (old, low) = (if limit == 0 { plan.base } else { plan.low(limit) }, plan.low(target));
        let pages = (target - limit) << PAGE_SHIFT;
        // Tables first, or in one: a page must never be writable without its descriptor. What a failed call leaves committed is committed
        // again later, which changes nothing.
        // SAFETY: inside the reservation: `low` and `old` are offsets from its start, no greater than that of the base.
        let done = unsafe {
            let tables = base.sub(plan.base - low);
            if limit == 0 {
                commit(source, tables, plan.base - low + pages)
            } else {
                (low == old || commit(source, tables, old - low)) && commit(source, base.add(limit << PAGE_SHIFT), pages)
            }
        };
        if !done {
            return false;
        }
        self.begin(limit, target);
        if huge {
            // SAFETY: just committed.
            unsafe { source.advise_huge(NonNull::new_unchecked(base.add(limit << PAGE_SHIFT)), pages) };
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
            begin(self.first.load(Ordering::Relaxed).sub(target - 1), target - limit, Page::new);
            begin(self.classes.load(Ordering::Relaxed).add(limit), target - limit, || AtomicU8::new(0));
            begin(self.marks.load(Ordering::Relaxed).add(words.start), words.len(), Marks::new);
            if limit == 0 {
                // Memory that was never written is mapped twice if it is read first.
                (*self.marks.load(Ordering::Relaxed)).young.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Gives back the address space that is not writable yet. Under the pages lock.
    pub(super) fn yield_room(&self, source: &dyn PageSource) {
        let (limit, room) = (self.limit.load(Ordering::Relaxed) >> PAGE_SHIFT, self.room());
        if limit == 0 || limit == room {
            return;
        }
        let (base, plan) = (self.base.load(Ordering::Relaxed), Plan::new(self.len(), align(self.len())));
        self.room.store(limit, Ordering::Relaxed);
        // SAFETY: both ends of the reservation, where nothing is writable; no page beyond the room is ever asked for again.
        unsafe {
            source.unmap(NonNull::new_unchecked(base.add(limit << PAGE_SHIFT)), (room - limit) << PAGE_SHIFT);
            if plan.low(limit) > 0 {
                source.unmap(NonNull::new_unchecked(base.sub(plan.base)), plan.low(limit));
            }
        }
    }

    /// Pages that the reservation has.
    pub(super) fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    fn len(&self) -> usize {
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
        unsafe { &*self.first.load(Ordering::Relaxed).sub(index) }
    }

    /// Index of a page of this arena.
    pub(super) fn index(&self, page: &Page) -> Option<usize> {
        let offset = self.first.load(Ordering::Relaxed).addr().wrapping_sub(core::ptr::from_ref(page).addr());
        // What lies beyond the limit may be another's by now: see `yield_room`.
        let writable = (self.limit.load(Ordering::Acquire) >> PAGE_SHIFT) * size_of::<Page>();
        (offset < writable).then_some(offset / size_of::<Page>())
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
