//! Runs of few pages that CPUs keep at hand: Linux's per-CPU page sets. Without them each slab that is made or released, and each buffer
//! of some dozen KiB, takes the one lock of the free runs.
//!
//! Nothing is kept as long as nobody waits for that lock: what is kept is memory that others cannot have.
//!
//! A kept run is free as far as anybody else is concerned, but for its bits: those say that it is in use, so that it merges with nothing and
//! nobody finds it. Its first page says [`Kind::Idle`].

use super::page::{Kind, Page};
use super::supply::{Pages, Run};
use crate::config::{KEPT_MOST, KEPT_RUNS, KEPT_SETS};
use crate::percpu::this_cpu;
use crate::sync::{AtomicU32, Guard, Lock, MODEL, Ordering, Rank, const_fn, filled};
use core::ptr::null;

/// Longest run that is kept, in pages.
const SPANS: usize = KEPT_RUNS.len();
/// Most runs of one length.
const MOST: usize = KEPT_RUNS[0];

/// The sets of all CPUs.
#[derive(Debug)]
pub(super) struct Kept {
    /// What `waits` must be at least, bits turned round.
    after: AtomicU32,
    /// Takes of the lock that had to wait, lately.
    waits: AtomicU32,
    sets: [Set; KEPT_SETS],
}

/// One set. CPUs beyond the last share them.
#[derive(Debug)]
#[repr(align(128))]
struct Set(Lock<Runs, { Rank::Kept.of() }>);

#[derive(Debug)]
struct Runs {
    pages: [[*const Page; MOST]; SPANS],
    /// How many of each length.
    len: [u8; SPANS],
    /// Least length since the last look: what nobody needed.
    low: [u8; SPANS],
}

// SAFETY: descriptors are never unmapped and are shared anyway; the runs are those of whoever holds the lock.
unsafe impl Send for Runs {}

impl Kept {
    const_fn! {
        /// Nothing kept, until [`Self::keep`].
        pub(super) const fn new() -> Self {
            Self { after: AtomicU32::new(0), waits: AtomicU32::new(0), sets: filled![Set(Lock::new(Runs::NONE)); KEPT_SETS] }
        }
    }

    /// Keeps runs from now on as soon as so many takes of the lock had to wait: 0 at once, the most never.
    pub(super) fn keep(&self, after: u32) {
        self.after.store(!after, Ordering::Relaxed);
    }

    /// A take of the lock had to wait.
    #[cold]
    pub(super) fn waited(&self) {
        // Some may be lost: it is a hint.
        let waits = self.waits.load(Ordering::Relaxed);
        self.waits.store((waits + 1).min(KEPT_MOST), Ordering::Relaxed);
    }

    /// Half of that is forgotten.
    pub(super) fn calm_down(&self) {
        self.waits.store(self.waits.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
    }

    /// Where runs of `span` pages are, if they are kept.
    fn row_of(&self, span: u32) -> Option<usize> {
        let wanted = self.waits.load(Ordering::Relaxed) >= !self.after.load(Ordering::Relaxed);
        (span as usize).checked_sub(1).filter(|row| *row < SPANS && wanted)
    }

    /// This CPU's set, unless somebody is at it.
    fn mine(&self) -> Option<Guard<'_, Runs, { Rank::Kept.of() }>> {
        self.sets[this_cpu() as usize % KEPT_SETS].0.try_lock()
    }

    /// Takes a run of `span` pages, if this CPU keeps one.
    pub(super) fn take(&self, span: u32) -> Option<&'static Page> {
        let row = self.row_of(span)?;
        self.mine()?.pop(row)
    }

    /// Keeps the run of `span` pages that starts at `page`. False if there is no room, or no time.
    pub(super) fn put(&self, page: &Page, span: u32) -> bool {
        let Some(row) = self.row_of(span) else { return false };
        self.mine().is_some_and(|mut runs| runs.push(row, page))
    }

    /// Takes out runs, one by one: `all`, or those that nobody has needed since the last such call.
    pub(super) fn give_up(&self, all: bool, mut each: impl FnMut(&'static Page)) {
        for set in &self.sets {
            for row in 0..SPANS {
                let mut left = set.0.lock().idle(row, all);
                while left > 0 {
                    left -= 1;
                    let Some(page) = set.0.lock().pop_oldest(row) else { break };
                    each(page);
                }
            }
        }
    }

    /// Pages kept.
    pub(super) fn pages(&self) -> usize {
        let of = |runs: &Runs| (0..SPANS).map(|row| usize::from(runs.len[row]) * (row + 1)).sum::<usize>();
        self.sets.iter().map(|set| of(&set.0.lock())).sum()
    }

    /// True if `is_kept` says so of every run and its length.
    pub(super) fn check(&self, is_kept: impl Fn(&Page, u32) -> bool) -> bool {
        self.sets.iter().all(|set| {
            let runs = set.0.lock();
            (0..SPANS).all(|row| {
                let len = usize::from(runs.len[row]);
                // SAFETY: descriptors are never unmapped.
                len <= KEPT_RUNS[row] && runs.pages[row][..len].iter().all(|page| is_kept(unsafe { &**page }, row as u32 + 1))
            })
        })
    }

    /// Takes every lock before `fork`.
    pub(super) fn prepare_fork(&self) {
        self.sets.iter().for_each(|set| set.0.acquire());
    }

    /// Releases them, in parent and child.
    ///
    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub(super) unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        self.sets.iter().for_each(|set| unsafe { set.0.release() });
    }
}

impl Pages {
    /// Lets CPUs keep runs of few pages at hand once so many takes of the lock had to wait, lately: 0 at once, the most never.
    pub fn keep_runs(&self, after: u32) {
        self.kept.keep(if MODEL { u32::MAX } else { after });
    }

    /// A run that this CPU has kept.
    #[inline]
    pub(super) fn alloc_kept(&self, pages: u32, kind: Kind) -> Option<Run> {
        let page = self.kept.take(pages)?;
        let (arena, start) = self.locate(page)?;
        if !self.charge(pages as usize) {
            self.release_kept(page);
            return None;
        }
        self.place(pages as usize);
        let fit = start..start + pages as usize;
        // Clean only if it was purged while it was in use: from now on it is not.
        self.arenas[arena].dirt().refresh(&fit, |_, _| ());
        Some(self.begin(arena, &fit, kind, false))
    }

    /// Puts a run that was kept among the free runs.
    fn release_kept(&self, page: &Page) {
        if let Some((arena, start)) = self.locate(page) {
            page.end();
            self.state.lock().runs[arena].release(&(start..start + page.span() as usize));
        }
    }

    /// Gives back what CPUs keep: `all`, or what was not needed since the last time. True if there was anything.
    pub(super) fn give_up_kept(&self, all: bool) -> bool {
        let mut any = false;
        self.kept.give_up(all, |page| {
            self.release_kept(page);
            any = true;
        });
        any
    }
}

impl Runs {
    const NONE: Self = Self { pages: [[null(); MOST]; SPANS], len: [0; SPANS], low: [0; SPANS] };

    fn push(&mut self, row: usize, page: &Page) -> bool {
        let len = usize::from(self.len[row]);
        let room = len < KEPT_RUNS[row];
        if room {
            self.pages[row][len] = page;
            self.len[row] += 1;
        }
        room
    }

    /// The one that was kept last: its memory is the warmest.
    fn pop(&mut self, row: usize) -> Option<&'static Page> {
        self.len[row] = self.len[row].checked_sub(1)?;
        self.low[row] = self.low[row].min(self.len[row]);
        // SAFETY: descriptors are never unmapped.
        Some(unsafe { &*self.pages[row][usize::from(self.len[row])] })
    }

    fn pop_oldest(&mut self, row: usize) -> Option<&'static Page> {
        let len = usize::from(self.len[row]);
        self.pages[row][..len].rotate_left(usize::from(len > 0));
        self.pop(row)
    }

    /// How many are to go; from now on those that stay count anew.
    fn idle(&mut self, row: usize, all: bool) -> u8 {
        let idle = if all { self.len[row] } else { self.low[row] };
        self.low[row] = self.len[row] - idle;
        idle
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;
    use crate::percpu::on_cpu;
    use std::boxed::Box;
    use std::vec::Vec;

    fn on<R>(cpu: u32, work: impl FnOnce() -> R) -> R {
        on_cpu(Some(cpu));
        let result = work();
        on_cpu(None);
        result
    }

    fn pages() -> [&'static Page; 3] {
        [(); 3].map(|()| &*Box::leak(Box::new(Page::new())))
    }

    #[test]
    fn what_was_kept_last_is_taken_first_by_the_same_cpu() {
        let (kept, pages) = (Kept::new(), pages());
        on(0, || assert!(!kept.put(pages[0], 1) && kept.take(1).is_none(), "not wanted"));
        kept.keep(0);
        on(0, || assert!(kept.put(pages[0], 1) && kept.put(pages[1], 1) && kept.put(pages[2], 2)));
        assert_eq!(kept.pages(), 4);
        on(1, || assert!(kept.take(1).is_none() && kept.take(2).is_none()));
        on(0, || {
            assert!(kept.take(3).is_none() && kept.take(0).is_none());
            assert!(core::ptr::eq(kept.take(1).unwrap(), pages[1]) && core::ptr::eq(kept.take(1).unwrap(), pages[0]));
            assert!(kept.take(1).is_none() && core::ptr::eq(kept.take(2).unwrap(), pages[2]));
        });
        assert_eq!(kept.pages(), 0);
    }

    #[test]
    fn runs_are_kept_while_others_wait_for_the_lock() {
        let (kept, page) = (Kept::new(), Page::new());
        kept.keep(3);
        let keeps = || on(0, || kept.put(&page, 1) && kept.take(1).is_some());
        (0..2).for_each(|_| kept.waited());
        assert!(!keeps());
        kept.waited();
        assert!(keeps());
        kept.calm_down();
        assert!(!keeps(), "half of three");
        (0..2 * KEPT_MOST).for_each(|_| kept.waited());
        assert_eq!((0..).take_while(|_| keeps().then(|| kept.calm_down()).is_some()).count(), 9, "1024, 512 ... 4");
        kept.keep(u32::MAX);
        (0..2 * KEPT_MOST).for_each(|_| kept.waited());
        assert!(!keeps());
    }

    #[test]
    fn no_more_is_kept_than_there_are_places() {
        let (kept, page) = (Kept::new(), Page::new());
        kept.keep(0);
        on(0, || {
            for span in 1..=SPANS as u32 + 1 {
                let most = KEPT_RUNS.get(span as usize - 1).copied().unwrap_or(0);
                assert_eq!((0..most + 3).filter(|_| kept.put(&page, span)).count(), most, "{span} pages");
            }
        });
        assert!(kept.check(|_, _| true) && !kept.check(|_, span| span < 3));
    }

    #[test]
    fn what_is_not_needed_between_two_looks_goes_oldest_first() {
        let (kept, pages) = (Kept::new(), pages());
        kept.keep(0);
        on(0, || assert!(pages.iter().all(|page| kept.put(page, 1))));
        let gone = |all| {
            let mut gone = Vec::new();
            kept.give_up(all, |page| gone.push(pages.iter().position(|one| core::ptr::eq(*one, page)).unwrap()));
            gone
        };
        assert!(gone(false).is_empty(), "they have only come");
        on(0, || assert!(kept.put(kept.take(1).unwrap(), 1)));
        assert_eq!(gone(false), [0, 1], "one was needed");
        on(0, || assert!(kept.put(kept.take(1).unwrap(), 1)));
        assert!(gone(false).is_empty());
        assert_eq!(gone(false), [2]);
        on(0, || assert!(kept.put(pages[1], 1)));
        assert_eq!(gone(true), [1]);
    }
}
