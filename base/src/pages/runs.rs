//! Free runs of one arena. Below `top` a set bit is a free page; above it everything is free and was never touched.

use super::dirt::Dirt;
use super::marks::Free;
use crate::bitmap::next_in;
use crate::config::{FIT_MISSES, FIT_PROBES};
use core::ops::Range;

const HINTS: usize = 25;

/// See the module.
#[derive(Debug)]
pub(super) struct Runs {
    free: Free,
    dirt: Dirt,
    /// Page number of the arena's first byte in the address space, for alignment.
    frame: usize,
    /// Pages ever handed out end here.
    pub(super) top: usize,
    /// No free run of `1 << k` pages starts below `hints[k]`.
    hints: [u32; HINTS],
    /// Where the last search for a run of that order gave up; 0 if it did not.
    rove: [u32; HINTS],
}

// SAFETY: the words are shared memory that lives as long as the process.
unsafe impl Send for Runs {}

/// A place for a request: `pages` are to be claimed; those at or above the old top are new.
pub(super) type Fit = Range<usize>;

impl Runs {
    pub(super) const EMPTY: Self =
        Self { free: Free::EMPTY, dirt: Dirt::EMPTY, frame: 0, top: 0, hints: [0; HINTS], rove: [0; HINTS] };

    pub(super) fn new(free: Free, dirt: Dirt, frame: usize) -> Self {
        Self { free, dirt, frame, ..Self::EMPTY }
    }

    /// Best fit among the free runs below the top: the shortest of the first [`FIT_PROBES`] that fit, lowest address first. After
    /// [`FIT_MISSES`] runs that do not fit the search ends with what it has; if that is nothing, the next one goes on from there, so that
    /// no run stays hidden.
    pub(super) fn best_fit(&mut self, pages: usize, align: usize) -> Option<Fit> {
        let order = pages.ilog2() as usize;
        let roving = self.rove[order] != 0;
        let (mut at, mut first) = (if roving { self.rove[order] } else { self.hints[order] } as usize, None);
        let (mut probes, mut misses) = (0, 0);
        let mut best: Option<(usize, usize)> = None;
        self.rove[order] = 0;
        while let Some(start) = self.free.next_set(at, self.top) {
            let end = self.free.next_clear(start, self.top);
            if end - start >= 1 << order {
                first = first.or(Some(start));
            }
            at = end;
            let place = self.aligned(start, align);
            if place + pages <= end {
                if best.is_none_or(|(len, _)| end - start < len) {
                    best = Some((end - start, place));
                }
                probes += 1;
                if end - start == pages || probes == FIT_PROBES {
                    break;
                }
            } else {
                misses += 1;
                if misses == FIT_MISSES {
                    self.rove[order] = if best.is_none() { at as u32 } else { 0 };
                    break;
                }
            }
        }
        if !roving {
            let passed = if misses == FIT_MISSES { at } else { self.top };
            self.hints[order] = first.unwrap_or(passed) as u32;
        }
        best.map(|(_, place)| place..place + pages)
    }

    /// The first fit, however many runs it takes to find it: for when there is nothing else.
    pub(super) fn first_fit(&self, pages: usize, align: usize) -> Option<Fit> {
        let mut at = self.hints[pages.ilog2() as usize] as usize;
        while let Some(start) = self.free.next_set(at, self.top) {
            at = self.free.next_clear(start, self.top);
            let place = self.aligned(start, align);
            if place + pages <= at {
                return Some(place..place + pages);
            }
        }
        None
    }

    /// A place that reaches beyond the top: the free run just below it, if any, continued upwards.
    pub(super) fn above(&self, pages: usize, align: usize) -> Fit {
        let place = self.aligned(self.free.run_start(self.top), align);
        place..place + pages
    }

    fn aligned(&self, place: usize, align: usize) -> usize {
        (self.frame + place).next_multiple_of(align) - self.frame
    }

    /// True if `pages` is free as it stands, below the top or above it.
    pub(super) fn is_free(&self, pages: &Fit) -> bool {
        self.free.next_clear(pages.start, self.top.min(pages.end)) >= self.top.min(pages.end)
    }

    /// Takes `pages`, raising the top if they reach beyond it.
    pub(super) fn claim(&mut self, pages: &Fit) {
        if pages.start > self.top {
            self.free.set(self.top, pages.start);
            self.lower_hints(self.free.run_start(self.top), pages.start);
        }
        self.free.clear(pages.start, self.top.min(pages.end));
        self.top = self.top.max(pages.end);
    }

    /// Gives `pages` back; they are dirty only if marked so.
    pub(super) fn release(&mut self, pages: &Fit) {
        self.free.set(pages.start, pages.end);
        let start = self.free.run_start(pages.start);
        self.lower_hints(start, self.free.next_clear(pages.end, self.top));
    }

    fn lower_hints(&mut self, start: usize, end: usize) {
        let orders = (end - start).ilog2() as usize;
        for hint in self.hints.iter_mut().take(orders + 1) {
            *hint = (*hint).min(start as u32);
        }
    }

    /// First run of free dirty pages from `from` on, at most `most` long; only old ones unless `all`.
    pub(super) fn next_purgeable(&self, from: usize, most: usize, all: bool) -> Option<Fit> {
        let wanted = |index: usize| {
            let free = self.free.word(index);
            if free == 0 { 0 } else { free & self.dirt.word(index, all) }
        };
        let start = next_in(from, self.top, wanted)?;
        let limit = self.top.min(start + most);
        let end = next_in(start, limit, |index| !wanted(index)).unwrap_or(limit);
        Some(start..end)
    }

    /// A decay tick: what is free and dirty now has had one interval.
    pub(super) fn age(&self) {
        for index in 0..self.top.div_ceil(64) {
            let free = self.free.word(index);
            if free != 0 {
                self.dirt.age(index, free);
            }
        }
    }

    /// Free pages below the top, and how many of them are dirty.
    pub(super) fn count_free(&self) -> (usize, usize) {
        let dirty =
            (0..self.top.div_ceil(64)).map(|index| (self.free.word(index) & self.dirt.word(index, true)).count_ones() as usize);
        (self.free.count(0, self.top), dirty.sum())
    }

    pub(super) fn page_is_free(&self, page: usize) -> bool {
        page >= self.top || (self.free.word(page / 64) >> (page % 64)) & 1 == 1
    }

    /// Summary and words agree, nothing is free above the top, and no hint hides a run.
    pub(super) fn check(&self) -> bool {
        let tail = self.top % 64;
        let clean_top = tail == 0 || self.free.word(self.top / 64) >> tail == 0;
        let mut at = 0;
        while let Some(start) = self.free.next_set(at, self.top) {
            at = self.free.next_clear(start, self.top);
            let orders = (at - start).ilog2() as usize;
            if self.hints.iter().take(orders + 1).any(|hint| *hint as usize > start) {
                return false;
            }
        }
        clean_top && self.free.check(self.top)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
