//! The page supply: runs of pages, taken from the free runs of the arenas and given back to them.

use super::arena::Arena;
use super::huge::Huge;
use super::kept::Kept;
use super::page::{Kind, Page};
use super::runs::{Fit, Runs};
use crate::bitmap::mask;
use crate::classes::Class;
use crate::config::{ARENA_MAX_PAGES, ARENA_MIN_PAGES, ARENA_PAGES, MAX_ARENAS, PAGE_SHIFT, PAGE_SIZE};
use crate::source::{OsSource, PageSource};
use crate::sync::{AtomicU64, AtomicUsize, Guard, Lock, MODEL, Ordering, Rank, const_fn, filled, relax};

/// A run of pages just handed out.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Run {
    /// Descriptor of the first page.
    pub page: &'static Page,
    /// First byte.
    pub address: *mut u8,
    /// True if every byte reads as zero.
    pub zeroed: bool,
}

/// The page supply of one allocator. In this order, so that what every program touches lies together; and all zero at first, so that a
/// `static` costs no memory before it is used.
#[derive(Debug)]
#[repr(C)]
pub struct Pages {
    /// `None`: the system's.
    source: Option<&'static dyn PageSource>,
    /// Pages the first arena should have; 0: [`ARENA_PAGES`].
    wish: AtomicUsize,
    /// Pages in use above which nothing more is handed out; 0: no limit.
    limit: AtomicUsize,
    /// 0: [`HUGE_THRESHOLD`].
    huge_threshold: AtomicUsize,
    /// Exclusive or of [`Thp`] and its default.
    thp: AtomicUsize,
    /// Pages handed out, huge blocks included.
    pub(super) used: AtomicUsize,
    /// Those of arenas alone, and the most that these have been since [`Pages::forget_peak`].
    pub(super) placed: AtomicUsize,
    pub(super) peak: AtomicUsize,
    pub(super) refused: AtomicU64,
    /// Arenas that count; the others are not set up.
    pub(super) count: AtomicUsize,
    pub(super) arenas: [Arena; MAX_ARENAS],
    pub(super) state: Lock<State, { Rank::Pages.of() }>,
    pub(super) huge: Huge,
    pub(super) kept: Kept,
}

/// Attempts at the lock by who would rather go without: some milliseconds.
const YIELD_ROUNDS: u32 = 100;

/// Bytes from which on a block is a mapping of its own, unless configured otherwise.
const HUGE_THRESHOLD: usize = 32 << 20;

#[derive(Debug)]
pub(super) struct State {
    pub(super) runs: [Runs; MAX_ARENAS],
}

/// Where huge pages are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thp {
    /// Nowhere.
    Off = 0,
    /// Where memory is known to be used densely: huge blocks that have grown.
    Auto = 1,
    /// Everywhere.
    On = 2,
}

impl Thp {
    /// By the knob's value.
    #[must_use]
    pub const fn of(value: u64) -> Self {
        match value {
            0 => Self::Off,
            1 => Self::Auto,
            _ => Self::On,
        }
    }
}

/// What the page supply holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PagesStats {
    /// Bytes handed out in runs and huge blocks.
    pub used: usize,
    /// Bytes free but possibly still backed by memory.
    pub retained: usize,
    /// Bytes of address space reserved.
    pub reserved: usize,
    /// Requests refused.
    pub refused: u64,
}

impl Pages {
    const_fn! {
        /// A supply that takes everything from `source`; nothing is taken before the first request.
        #[must_use]
        pub const fn new(source: &'static dyn PageSource) -> Self {
            Self::over(Some(source))
        }
    }

    const_fn! {
        /// A supply that takes everything from the system.
        #[must_use]
        pub const fn system() -> Self {
            Self::over(None)
        }
    }

    const_fn! {
        const fn over(source: Option<&'static dyn PageSource>) -> Self {
            Self {
                huge: Huge::new(),
                source,
                wish: AtomicUsize::new(0),
                limit: AtomicUsize::new(0),
                huge_threshold: AtomicUsize::new(0),
                thp: AtomicUsize::new(0),
                used: AtomicUsize::new(0),
                placed: AtomicUsize::new(0),
                peak: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
                count: AtomicUsize::new(0),
                arenas: filled![Arena::empty(); MAX_ARENAS],
                state: Lock::new(State { runs: [const { Runs::EMPTY }; MAX_ARENAS] }),
                kept: Kept::new(),
            }
        }
    }

    /// Takes over the knobs; also while running.
    pub fn configure(&self, first_arena: usize, hard_limit: usize, huge_threshold: usize, thp: Thp) {
        self.thp.store(thp as usize ^ Thp::Auto as usize, Ordering::Relaxed);
        self.wish.store(first_arena >> PAGE_SHIFT, Ordering::Relaxed);
        // A limit of less than a page is one all the same.
        self.limit.store(hard_limit.div_ceil(PAGE_SIZE), Ordering::Relaxed);
        self.huge_threshold.store(huge_threshold, Ordering::Relaxed);
    }

    /// The free runs, locked.
    #[inline]
    fn runs(&self) -> Guard<'_, State, { Rank::Pages.of() }> {
        self.state.try_lock().unwrap_or_else(|| {
            self.kept.waited();
            self.state.lock()
        })
    }

    /// True if huge pages are wanted wherever at least `least` says so.
    pub(super) fn wants_huge(&self, least: Thp) -> bool {
        self.thp.load(Ordering::Relaxed) ^ Thp::Auto as usize >= least as usize
    }

    /// Bytes from which on a block is a mapping of its own.
    pub(super) fn huge_threshold(&self) -> usize {
        match self.huge_threshold.load(Ordering::Relaxed) {
            0 => HUGE_THRESHOLD,
            threshold => threshold,
        }
    }

    /// Where memory comes from.
    #[must_use]
    pub fn source(&self) -> &'static dyn PageSource {
        self.source.unwrap_or(&OsSource)
    }

    /// Takes a run of `pages` pages whose address is a multiple of `align` pages. O(runs probed).
    pub fn alloc(&self, pages: u32, align: u32, kind: Kind) -> Option<Run> {
        self.alloc_at(pages, [align; 2], kind)
    }

    /// The same with two alignments: one that is wished for, and one that must be.
    pub(super) fn alloc_at(&self, pages: u32, aligns: [u32; 2], kind: Kind) -> Option<Run> {
        if aligns[0] <= 1
            && let Some(run) = self.alloc_kept(pages, kind)
        {
            return Some(run);
        }
        let (arena, fit) = self.claim(pages as usize, aligns)?;
        let mut zeroed = true;
        self.arenas[arena].dirt().refresh(&fit, |_, _| zeroed = false);
        Some(self.begin(arena, &fit, kind, zeroed))
    }

    /// The same, with every byte zero: only pages that may not be are cleared.
    pub fn alloc_zeroed(&self, pages: u32, align: u32, kind: Kind) -> Option<Run> {
        self.alloc_zeroed_at(pages, [align; 2], kind)
    }

    /// [`Self::alloc_at`], with every byte zero.
    pub(super) fn alloc_zeroed_at(&self, pages: u32, aligns: [u32; 2], kind: Kind) -> Option<Run> {
        let (arena, fit) = self.claim(pages as usize, aligns)?;
        let place = &self.arenas[arena];
        place.dirt().refresh(&fit, |index, mut dirty| {
            while dirty != 0 {
                let start = dirty.trailing_zeros() as usize;
                let end = start + (dirty >> start).trailing_ones() as usize;
                // SAFETY: the pages were just claimed for this caller.
                unsafe { place.byte(index * 64 + start).write_bytes(0, (end - start) << PAGE_SHIFT) };
                dirty &= !mask(start, end);
            }
        });
        Some(self.begin(arena, &fit, kind, true))
    }

    pub(super) fn begin(&self, arena: usize, fit: &Fit, kind: Kind, zeroed: bool) -> Run {
        let (place, span) = (&self.arenas[arena], (fit.end - fit.start) as u32);
        let address = place.byte(fit.start);
        let page = place.page(fit.start);
        page.begin(kind, address.addr(), span);
        if kind == Kind::Slab {
            for distance in 1..span {
                let tail = fit.start + distance as usize;
                place.page(tail).begin(Kind::Tail, place.byte(tail).addr(), distance);
            }
        }
        Run { page, address, zeroed }
    }

    /// Gives a run back.
    ///
    /// # Safety
    /// `page` is the first of a run of this supply, and its bytes are dead.
    pub unsafe fn free(&self, page: &Page) {
        let Some((arena, start)) = self.locate(page) else {
            return;
        };
        let span = page.span() as usize;
        if page.kind() == Kind::Slab {
            (1..span).for_each(|tail| self.arenas[arena].page(start + tail).end());
        }
        page.rest();
        (0..span).for_each(|at| self.arenas[arena].class(start + at).store(0, Ordering::Relaxed));
        if self.kept.put(page, span as u32) {
            return self.uncount(span);
        }
        page.end();
        self.release(arena, &(start..start + span));
    }

    /// Pages in use, huge blocks included.
    #[inline]
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn release(&self, arena: usize, fit: &Fit) {
        self.runs().runs[arena].release(fit);
        self.uncount(fit.end - fit.start);
    }

    /// Counts `pages` as handed out no more.
    fn uncount(&self, pages: usize) {
        self.used.fetch_sub(pages, Ordering::Relaxed);
        self.placed.fetch_sub(pages, Ordering::Relaxed);
    }

    /// Counts `pages` as handed out by an arena.
    pub(super) fn place(&self, pages: usize) {
        let placed = self.placed.fetch_add(pages, Ordering::Relaxed) + pages;
        // A neighbour's larger number may be lost: it is a hint.
        if placed > self.peak.load(Ordering::Relaxed) {
            self.peak.store(placed, Ordering::Relaxed);
        }
    }

    /// Pages that the arenas have handed out at most and no longer do; they may be backed by memory.
    #[inline]
    #[must_use]
    pub fn below_peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed).saturating_sub(self.placed.load(Ordering::Relaxed))
    }

    /// What is handed out now is the peak.
    pub fn forget_peak(&self) {
        self.peak.store(self.placed.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Counts `pages` as used, unless that breaks the hard limit.
    pub(super) fn charge(&self, pages: usize) -> bool {
        let used = self.used.fetch_add(pages, Ordering::Relaxed);
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == 0 || used.saturating_add(pages) <= limit {
            return true;
        }
        self.used.fetch_sub(pages, Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn claim(&self, pages: usize, aligns: [u32; 2]) -> Option<(usize, Fit)> {
        let [wish, align] = aligns.map(|align| align.max(1) as usize);
        if pages == 0 || pages.max(align) > ARENA_MAX_PAGES || !self.charge(pages) {
            return None;
        }
        let once = || {
            let mut state = self.runs();
            self.claim_in(&mut state, pages, wish).or_else(|| self.claim_last(&mut state, pages, align))
        };
        // What CPUs keep is no reason to refuse.
        let found = once().or_else(|| if self.give_up_kept(true) { once() } else { None });
        if found.is_some() {
            self.place(pages);
        } else {
            self.used.fetch_sub(pages, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// Best fit in any arena first, new pages second: what was used before is resident already.
    fn claim_in(&self, state: &mut State, pages: usize, align: usize) -> Option<(usize, Fit)> {
        let count = self.count.load(Ordering::Relaxed);
        for (arena, runs) in state.runs[..count].iter_mut().enumerate() {
            if let Some(fit) = runs.best_fit(pages, align) {
                runs.claim(&fit);
                return Some((arena, fit));
            }
        }
        (0..count).find_map(|arena| self.claim_above(state, arena, pages, align))
    }

    /// The same for want of anything better: any fit there is, or a new arena.
    #[cold]
    fn claim_last(&self, state: &mut State, pages: usize, align: usize) -> Option<(usize, Fit)> {
        let count = self.count.load(Ordering::Relaxed);
        let fit = (0..count).find_map(|arena| Some((arena, state.runs[arena].first_fit(pages, align)?)));
        if let Some((arena, fit)) = &fit {
            state.runs[*arena].claim(fit);
            return Some((*arena, fit.clone()));
        }
        // A new arena is for want of address space. Where memory is refused, it would be refused there too.
        let above = (0..count).find_map(|arena| self.claim_above(state, arena, pages, align));
        let roomy = above.is_some() || self.has_room(state, pages, align);
        if roomy { above } else { self.claim_in_new(state, pages, align) }
    }

    /// True if some arena has address space left for that many pages.
    fn has_room(&self, state: &State, pages: usize, align: usize) -> bool {
        let count = self.count.load(Ordering::Relaxed);
        (0..count).any(|arena| state.runs[arena].above(pages, align).end <= self.arenas[arena].room())
    }

    fn claim_above(&self, state: &mut State, arena: usize, pages: usize, align: usize) -> Option<(usize, Fit)> {
        let runs = &mut state.runs[arena];
        let fit = runs.above(pages, align);
        if !self.arenas[arena].commit(self.source(), fit.end, self.wants_huge(Thp::On)) {
            return None;
        }
        runs.claim(&fit);
        Some((arena, fit))
    }

    #[cold]
    fn claim_in_new(&self, state: &mut State, pages: usize, align: usize) -> Option<(usize, Fit)> {
        let count = self.count.load(Ordering::Relaxed);
        if count == MAX_ARENAS {
            return None;
        }
        let least = pages.checked_add(align)?.max(ARENA_MIN_PAGES).next_multiple_of(64);
        let mut len = self.wished(count).max(least);
        loop {
            if let Some(runs) = self.arenas[count].reserve(self.source(), len) {
                state.runs[count] = runs;
                // Release pairs with the Acquire in `page_of`.
                self.count.store(count + 1, Ordering::Release);
                return self.claim_above(state, count, pages, align);
            }
            if len == least {
                return None;
            }
            // Refused once, the address space is limited, and others need some of it too: an eighth of what was refused.
            len = (len / 8).next_multiple_of(64).max(least);
        }
    }

    /// Pages that arena number `count` should have.
    fn wished(&self, count: usize) -> usize {
        if count > 0 {
            return wished_after((0..count).map(|arena| self.arenas[arena].room()).sum(), machine_memory);
        }
        match self.wish.load(Ordering::Relaxed) {
            0 => ARENA_PAGES,
            wish => wish.next_multiple_of(64).clamp(ARENA_MIN_PAGES, ARENA_MAX_PAGES),
        }
    }

    /// The page that holds `address`, if it is one of this supply's. O(1) but for the rare process with several arenas.
    #[inline]
    #[must_use]
    pub fn page_of(&self, address: usize) -> Option<&'static Page> {
        if let Some(page) = self.arenas[0].page_at(address) {
            return Some(page);
        }
        self.page_elsewhere(address)
    }

    #[cold]
    fn page_elsewhere(&self, address: usize) -> Option<&'static Page> {
        // Acquire pairs with the Release in `claim_in_new`.
        let count = self.count.load(Ordering::Acquire);
        self.arenas[..count].iter().skip(1).find_map(|arena| arena.page_at(address))
    }

    /// First page of the slab that holds `address`, or the page itself.
    #[inline]
    #[must_use]
    pub fn head_of(&self, address: usize) -> Option<&'static Page> {
        let page = self.page_of(address)?;
        if page.kind() != Kind::Tail {
            return Some(page);
        }
        self.page_of(address - ((page.span() as usize) << PAGE_SHIFT))
    }

    /// Class of the slab that holds `address`, if it is one of a general cache's in the first arena: a range check and one load.
    #[inline(always)]
    #[must_use]
    pub fn class_near(&self, address: usize) -> Option<Class> {
        Class::of_byte(self.arenas[0].class_at(address)?)
    }

    /// The same for any arena. O(1) but for the rare process with several.
    #[must_use]
    pub fn class_of(&self, address: usize) -> Option<Class> {
        // Acquire pairs with the Release in `claim_in_new`.
        let count = self.count.load(Ordering::Acquire);
        Class::of_byte(self.arenas[..count].iter().find_map(|arena| arena.class_at(address))?)
    }

    /// Notes `class` for every page of the run that starts at `page`.
    pub fn set_class(&self, page: &Page, class: Class) {
        if let Some((arena, start)) = self.locate(page) {
            for at in start..start + page.span() as usize {
                self.arenas[arena].class(at).store(class.byte(), Ordering::Relaxed);
            }
        }
    }

    pub(super) fn locate(&self, page: &Page) -> Option<(usize, usize)> {
        let count = self.count.load(Ordering::Acquire);
        (0..count).find_map(|arena| Some((arena, self.arenas[arena].index(page)?)))
    }

    /// True if the page that holds `address` is in use, be it inside a large block.
    #[cold]
    #[must_use]
    pub fn is_used(&self, address: usize) -> bool {
        let state = self.state.lock();
        let count = self.count.load(Ordering::Acquire);
        (0..count).any(|arena| {
            let place = &self.arenas[arena];
            let page = address.wrapping_sub(place.base()) >> PAGE_SHIFT;
            place.page_at(address).is_some() && !state.runs[arena].page_is_free(page)
        })
    }

    /// Gives back the address space that is reserved and not writable yet: before the process is limited in it. What is wanted later is
    /// reserved anew, as far as the limit allows. Does nothing if the lock cannot be had: the caller may be a child in which its holder
    /// does not exist, or a signal handler.
    pub fn yield_room(&self) {
        let mut round = 0;
        while round < YIELD_ROUNDS {
            if let Some(_state) = self.state.try_lock() {
                let count = self.count.load(Ordering::Relaxed);
                return self.arenas[..count].iter().for_each(|arena| arena.yield_room(self.source()));
            }
            relax(&mut round);
        }
    }

    /// What the supply holds. Walks the free bitmaps.
    #[must_use]
    pub fn stats(&self) -> PagesStats {
        let kept = self.kept.pages() << PAGE_SHIFT;
        let state = self.state.lock();
        let count = self.count.load(Ordering::Relaxed);
        PagesStats {
            used: self.used.load(Ordering::Relaxed) << PAGE_SHIFT,
            retained: kept + state.runs[..count].iter().map(|runs| runs.count_free().1 << PAGE_SHIFT).sum::<usize>(),
            reserved: self.arenas[..count].iter().map(|arena| arena.room() * PAGE_SIZE).sum(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Walks everything: bitmaps and summaries agree, hints hide nothing, descriptors and free bits agree, used pages add up.
    #[must_use]
    pub fn check(&self) -> bool {
        let kept = self.kept.check(|page, span| page.kind() == Kind::Idle && page.span() == span);
        let state = self.state.lock();
        let count = self.count.load(Ordering::Relaxed);
        let arenas = (0..count).all(|arena| state.runs[arena].check() && self.check_pages(&state.runs[arena], arena));
        kept && arenas && self.huge.check()
    }

    fn check_pages(&self, runs: &Runs, arena: usize) -> bool {
        let mut at = 0;
        while at < runs.top {
            let page = self.arenas[arena].page(at);
            let (kind, free) = (page.kind(), runs.page_is_free(at));
            if kind == Kind::Tail || (free && kind != Kind::Free) {
                return false;
            }
            at += if kind == Kind::Free { 1 } else { page.span().max(1) as usize };
        }
        at == runs.top
    }

    /// Takes every lock, in rank order, before `fork`.
    pub fn prepare_fork(&self) {
        self.kept.prepare_fork();
        self.state.acquire();
        self.huge.prepare_fork();
    }

    /// Releases them, in parent and child.
    ///
    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe {
            self.huge.after_fork();
            self.state.release();
            self.kept.after_fork();
        }
    }
}

// What a descriptor costs, and what the arena's table goes by.
const _: () = assert!(MODEL || size_of::<Page>() == 64);

/// Pages that the next arena should have where `full` are full, on a machine with `memory()` bytes.
fn wished_after(full: usize, memory: impl FnOnce() -> usize) -> usize {
    // Who fills 64 GiB may go on to fill the machine.
    let machine = if full < ARENA_PAGES { 0 } else { memory().saturating_mul(2) >> PAGE_SHIFT };
    full.max(machine.next_power_of_two()).min(ARENA_MAX_PAGES)
}

/// Bytes of memory that the machine has.
fn machine_memory() -> usize {
    const DEFAULT: usize = 64 << 30;
    #[cfg(target_os = "linux")]
    {
        // SAFETY: all zero is a valid sysinfo, and the call fills it in.
        let mut info: libc::sysinfo = unsafe { core::mem::zeroed() };
        // SAFETY: as above.
        if unsafe { libc::sysinfo(&raw mut info) } == 0 {
            return (info.totalram as usize).saturating_mul(info.mem_unit as usize);
        }
    }
    DEFAULT
}

#[cfg(all(test, not(loom)))]
mod tests;
