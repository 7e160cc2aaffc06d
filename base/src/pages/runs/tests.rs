//! Free runs and dirt, against the plain way to keep them.

extern crate std;
use super::*;
use crate::pages::marks::Marks;
use kmem_testkit::SplitMix64;
use std::vec;
use std::vec::Vec;

const PAGES: usize = 64 * 12;
/// Number of the arena's first page: alignments count from 0 of the address space.
const FRAME: usize = 5;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Age {
    Zero,
    Young,
    Old,
}

/// What is free and how dirty it is, page by page.
struct Plain {
    free: Vec<bool>,
    age: Vec<Age>,
    top: usize,
}

impl Plain {
    fn runs(&self) -> Vec<Fit> {
        let mut runs: Vec<Fit> = Vec::new();
        for page in (0..self.top).filter(|page| self.free[*page]) {
            match runs.last_mut() {
                Some(run) if run.end == page => run.end += 1,
                _ => runs.push(page..page + 1),
            }
        }
        runs
    }

    fn place(start: usize, align: usize) -> usize {
        (start..).find(|page| (FRAME + page).is_multiple_of(align)).unwrap()
    }

    /// The shortest of the first that fit; the search ends at one that fits exactly.
    fn best_fit(&self, pages: usize, align: usize) -> Option<Fit> {
        let fits = |run: &Fit| Self::place(run.start, align) + pages <= run.end;
        let mut some: Vec<_> = self.runs().into_iter().filter(fits).take(FIT_PROBES as usize).collect();
        if let Some(exact) = some.iter().position(|run| run.len() == pages) {
            some.truncate(exact + 1);
        }
        let best = some.into_iter().min_by_key(|run| run.len())?;
        let place = Self::place(best.start, align);
        Some(place..place + pages)
    }

    fn above(&self, pages: usize, align: usize) -> Fit {
        let start = (0..self.top).rev().take_while(|page| self.free[*page]).last().unwrap_or(self.top);
        let place = Self::place(start, align);
        place..place + pages
    }

    fn claim(&mut self, fit: &Fit) {
        if fit.start > self.top {
            self.free[self.top..fit.start].fill(true);
        }
        self.free[fit.clone()].fill(false);
        self.top = self.top.max(fit.end);
    }

    fn purgeable(&self, from: usize, most: usize, all: bool) -> Option<Fit> {
        let wanted = |page: &usize| self.free[*page] && (self.age[*page] == Age::Old || (all && self.age[*page] == Age::Young));
        let start = (from..self.top).find(wanted)?;
        let len = (start..self.top).take(most).take_while(wanted).count();
        Some(start..start + len)
    }
}

/// The bits of an arena.
fn memory() -> Vec<Marks> {
    (0..PAGES / 64).map(|_| Marks::new()).collect()
}

/// Both tables must agree on everything that can be asked.
fn agree(runs: &mut Runs, plain: &Plain, random: &mut SplitMix64) {
    assert!(runs.check());
    assert_eq!(runs.top, plain.top);
    let free = |page: &usize| plain.free[*page];
    let dirty = |page: &usize| plain.age[*page] != Age::Zero;
    let counts = ((0..plain.top).filter(free).count(), (0..plain.top).filter(|page| free(page) && dirty(page)).count());
    assert_eq!(runs.count_free(), counts);
    for _ in 0..4 {
        let (pages, align) = (1 + random.below(20), 1 << random.below(5));
        assert_eq!(runs.best_fit(pages, align), plain.best_fit(pages, align), "{pages} pages aligned to {align}");
        assert_eq!(runs.above(pages, align), plain.above(pages, align));
        let (from, most, all) = (random.below(plain.top + 1), 1 + random.below(40), random.percent(50));
        assert_eq!(runs.next_purgeable(from, most, all), plain.purgeable(from, most, all));
        let range = from..(from + most).min(PAGES);
        assert_eq!(runs.is_free(&range), range.clone().all(|page| page >= plain.top || plain.free[page]));
        assert_eq!(runs.page_is_free(from), from >= plain.top || plain.free[from]);
        assert_eq!(next_in(range.start, range.end, |index| runs.dirt.word(index, true)), range.clone().find(dirty));
    }
    assert!(runs.check(), "a search may only raise hints as far as it has seen");
}

#[test]
fn runs_agree_with_a_plain_array() {
    for seed in 0..6 {
        let table = memory();
        // SAFETY: the table outlives the runs and covers every page.
        let (free, dirt) = unsafe { (Marks::free(table.as_ptr()), Dirt::new(table.as_ptr())) };
        let mut runs = Runs::new(free, dirt, FRAME);
        let mut plain = Plain { free: vec![false; PAGES], age: vec![Age::Zero; PAGES], top: 0 };
        let (mut random, mut held) = (SplitMix64::new(seed), Vec::<Fit>::new());
        // Some seeds keep many runs, so that a search has more of them than it probes.
        let most = 1 + random.below(if seed % 2 == 0 { 12 } else { 2 });
        for round in 0..600 {
            let (pages, align) = (1 + random.below(most), 1 << (random.below(8) / 3));
            match random.below(10) {
                0..5 => {
                    let fit = plain.best_fit(pages, align).unwrap_or_else(|| plain.above(pages, align));
                    if fit.end <= PAGES {
                        runs.claim(&fit);
                        let mut was = Vec::new();
                        runs.dirt.refresh(&fit, |index, dirty| {
                            was.extend((0..64).filter(|bit| dirty >> bit & 1 == 1).map(|bit| index * 64 + bit))
                        });
                        let dirty = |page: &usize| plain.age.get(*page).is_some_and(|age| *age != Age::Zero);
                        assert_eq!(was, fit.clone().filter(dirty).collect::<Vec<_>>());
                        plain.claim(&fit);
                        plain.age[fit.clone()].fill(Age::Young);
                        held.push(fit);
                    }
                }
                5..8 if !held.is_empty() => {
                    let fit = held.swap_remove(random.below(held.len()));
                    runs.release(&fit);
                    plain.free[fit].fill(true);
                }
                8 => {
                    runs.age();
                    let aged = (0..plain.top).filter(|page| plain.free[*page]).collect::<Vec<_>>();
                    aged.into_iter().filter(|page| plain.age[*page] == Age::Young).collect::<Vec<_>>().into_iter().for_each(
                        |page| {
                            plain.age[page] = Age::Old;
                        },
                    );
                }
                _ => {
                    if let Some(fit) = plain.purgeable(0, 1 + random.below(30), round % 2 == 0) {
                        runs.dirt.cleanse(&fit);
                        plain.age[fit].fill(Age::Zero);
                    }
                }
            }
            agree(&mut runs, &plain, &mut random);
        }
    }
}

#[test]
fn disagreement_is_noticed() {
    let table = memory();
    // SAFETY: as above.
    let (free, dirt) = unsafe { (Marks::free(table.as_ptr()), Dirt::new(table.as_ptr())) };
    let mut runs = Runs::new(free, dirt, FRAME);
    runs.claim(&(0..100));
    runs.release(&(10..20));
    assert!(runs.check());
    free.set(100, 101);
    assert!(!runs.check(), "nothing above the top is marked free");
    free.clear(100, 101);
    assert_eq!(runs.best_fit(30, 1), None);
    assert!(runs.check());
    free.set(40, 80);
    assert!(!runs.check(), "a hint hides a run");
}
