//! What the page supply reckons, by itself.

extern crate std;
use super::*;
use crate::pages::Page;
use crate::source::{Call, FaultySource, Gate, GatedSource, Plan};
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

fn supply() -> &'static Pages {
    let pages: &'static Pages = Box::leak(Box::new(Pages::new(Box::leak(Box::new(FaultySource::new())))));
    pages.configure(64 << 20, 0, 8 << 20, Thp::Auto);
    pages
}

#[test]
fn huge_pages_are_wanted_from_the_knob_on() {
    let (pages, all) = (Pages::system(), [Thp::Off, Thp::Auto, Thp::On]);
    assert_eq!(all, [0, 1, 2].map(Thp::of));
    assert_eq!(all.map(|least| pages.wants_huge(least)), [true, true, false], "auto, before anybody says so");
    for knob in all {
        pages.configure(0, 0, 0, knob);
        assert_eq!(all.map(|least| pages.wants_huge(least)), all.map(|least| knob as usize >= least as usize), "{knob:?}");
    }
}

#[test]
fn huge_blocks_begin_at_32_mib_or_where_they_are_told_to() {
    let pages = Pages::system();
    assert_eq!(pages.huge_threshold(), 32 << 20);
    pages.configure(0, 0, 12345, Thp::Auto);
    assert_eq!(pages.huge_threshold(), 12345);
}

#[test]
fn the_hard_limit_holds_to_the_page() {
    let pages = Pages::system();
    assert!(pages.charge(1000), "there is none");
    pages.used.store(0, Ordering::Relaxed);
    pages.configure(0, 3 * PAGE_SIZE - 1, 0, Thp::Auto);
    assert!(pages.charge(2) && !pages.charge(2) && pages.charge(1) && !pages.charge(1) && !pages.charge(usize::MAX - 2));
    assert_eq!((pages.used(), pages.refused.load(Ordering::Relaxed)), (3, 3));
    pages.configure(0, 1, 0, Thp::Auto);
    pages.used.store(0, Ordering::Relaxed);
    assert!(pages.charge(1) && !pages.charge(1), "less than a page is a limit of one");
}

#[test]
fn a_peak_is_kept_until_it_is_forgotten() {
    let pages = supply();
    let runs: Vec<_> = [5, 7, 1].map(|span| pages.alloc(span, 1, Kind::Large).unwrap()).into();
    assert_eq!((pages.used(), pages.below_peak()), (13, 0));
    let free = |run: Run| {
        // SAFETY: allocated above, freed once.
        unsafe { pages.free(run.page) };
    };
    free(runs[1]);
    assert_eq!((pages.used(), pages.below_peak()), (6, 7));
    let again = pages.alloc(2, 1, Kind::Large).unwrap();
    assert_eq!(pages.below_peak(), 5, "the peak is as it was");
    pages.forget_peak();
    assert_eq!(pages.below_peak(), 0);
    free(again);
    assert_eq!(pages.below_peak(), 2);
    let huge = pages.alloc_large(9 << 20, 8, false);
    assert_eq!(pages.below_peak(), 2, "huge blocks are no part of it");
    // SAFETY: allocated above, with that size.
    unsafe { pages.free_large(huge, 9 << 20) };
}

#[test]
fn the_first_arena_is_as_long_as_wished() {
    let pages = Pages::system();
    assert_eq!(pages.wished(0), ARENA_PAGES);
    for (bytes, len) in
        [(1, ARENA_PAGES), (PAGE_SIZE, 64), (64 * PAGE_SIZE, 64), (65 * PAGE_SIZE, 128), (usize::MAX, ARENA_MAX_PAGES)]
    {
        pages.configure(bytes, 0, 0, Thp::Auto);
        assert_eq!(pages.wished(0), len, "{bytes}");
    }
}

#[test]
fn each_further_arena_is_as_long_as_those_before() {
    let pages = supply();
    let _first = pages.alloc(1000, 1, Kind::Large).unwrap();
    assert_eq!(pages.wished(1), 1024);
    let _second = pages.alloc(1000, 1, Kind::Large).unwrap();
    assert_eq!((pages.wished(2), pages.stats().reserved), (2048, 2048 * PAGE_SIZE));
}

#[test]
fn beyond_64_gib_an_arena_takes_twice_the_machines_memory() {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    if let Some(kib) = total {
        assert_eq!(machine_memory() >> 10, kib);
    }
    let pages = Pages::system();
    pages.arenas[0].reserve(&OsSource, ARENA_PAGES).unwrap();
    assert_eq!(pages.wished(1), wished_after(ARENA_PAGES, machine_memory));
    let (full, memory) = (ARENA_PAGES, ARENA_PAGES << PAGE_SHIFT);
    for (full, memory, wished) in [
        (full - 64, memory, full - 64),
        (full, memory / 4, full),
        (full, memory, 2 * full),
        (full, memory / 2 + PAGE_SIZE, 2 * full),
        (3 * full, memory, 3 * full),
        (full, usize::MAX, ARENA_MAX_PAGES),
        (ARENA_MAX_PAGES + 64, memory, ARENA_MAX_PAGES),
    ] {
        assert_eq!(wished_after(full, || memory), wished, "{full} pages full, {memory} bytes");
    }
}

/// Refuses everything, and notes what was to be reserved.
#[derive(Debug, Default)]
struct Refusing(Mutex<Vec<usize>>);

impl Gate for Refusing {
    fn opens(&self, call: Call, len: usize) -> bool {
        if call == Call::Reserve {
            self.0.lock().unwrap().push(len);
        }
        false
    }
}

#[test]
fn refused_address_space_is_asked_for_by_eighths() {
    let source: &'static GatedSource<Refusing> = Box::leak(Box::default());
    let reserved = || source.0.0.lock().unwrap();
    let pages = Pages::new(source);
    pages.configure(4096 * PAGE_SIZE, 0, 0, Thp::Auto);
    assert!(pages.alloc(3, 1, Kind::Large).is_none());
    // What is asked for on top of that is for the tables, and for multiples of 2 MiB.
    let fits = |bytes: &usize, len: usize| (len * PAGE_SIZE..(len + 65) * PAGE_SIZE).contains(bytes);
    let asked = core::mem::take(&mut *reserved());
    assert!(asked.len() == 3 && asked.iter().zip([4096, 512, 64]).all(|(bytes, len)| fits(bytes, len)), "{asked:?}");
    // What is wanted must fit, alignment and all.
    assert!(pages.alloc(100, 16, Kind::Large).is_none());
    assert!(fits(reserved().last().unwrap(), 128));
    assert_eq!((pages.used(), pages.stats().refused, pages.stats().reserved), (0, 2, 0));
    // The longest run that there could be is asked for, no longer one.
    reserved().clear();
    assert!(pages.alloc(ARENA_MAX_PAGES as u32 + 1, 1, Kind::Large).is_none() && reserved().is_empty());
    assert!(pages.alloc(ARENA_MAX_PAGES as u32, 1, Kind::Large).is_none() && !reserved().is_empty());
}

#[test]
fn impossible_runs_are_refused_before_anything_else() {
    let pages = supply();
    let most = ARENA_MAX_PAGES as u32;
    assert!(pages.alloc(0, 1, Kind::Large).is_none() && pages.alloc(most + 1, 1, Kind::Large).is_none());
    assert!(pages.alloc(1, 2 * most, Kind::Large).is_none());
    assert_eq!((pages.used(), pages.stats().reserved, pages.stats().refused), (0, 0, 0));
}

#[test]
fn slabs_are_found_from_any_of_their_pages() {
    let pages = supply();
    let (class, other) = (Class::of(64), pages.alloc(2, 1, Kind::Large).unwrap());
    let slab = pages.alloc(4, 1, Kind::Slab).unwrap();
    pages.set_class(slab.page, class);
    for at in 0..4 {
        let address = slab.address.addr() + at * PAGE_SIZE + 77;
        assert!(core::ptr::eq(pages.head_of(address).unwrap(), slab.page));
        assert_eq!((pages.class_of(address), pages.class_near(address)), (Some(class), Some(class)));
        let page: &Page = pages.page_of(address).unwrap();
        assert_eq!((page.kind() == Kind::Slab, page.kind() == Kind::Tail), (at == 0, at > 0));
        assert_eq!(page.address(), slab.address.addr() + at * PAGE_SIZE);
    }
    let [before, behind] = [slab.address.addr() - 1, slab.address.addr() + 4 * PAGE_SIZE];
    assert_eq!((pages.class_of(before), pages.class_of(behind)), (None, None));
    assert!(core::ptr::eq(pages.head_of(other.address.addr()).unwrap(), other.page));
    assert!(pages.is_used(before) && !pages.is_used(behind) && !pages.is_used(0));
    // SAFETY: allocated above, freed once.
    unsafe { pages.free(slab.page) };
    for at in 0..4 {
        let address = slab.address.addr() + at * PAGE_SIZE;
        assert!(pages.class_of(address).is_none() && pages.page_of(address).unwrap().kind() == Kind::Free);
    }
    assert!(pages.check());
}

/// Damage to descriptors that a walk must notice.
#[test]
fn damaged_descriptors_are_noticed() {
    let pages = supply();
    let slab = pages.alloc(4, 1, Kind::Slab).unwrap();
    let behind = pages.alloc(2, 1, Kind::Large).unwrap();
    let address = slab.address.addr();
    let damaged = |kind: Kind, span: u32| {
        let (was, pages_of_it) = (slab.page.kind(), slab.page.span());
        slab.page.begin(kind, address, span);
        let noticed = !pages.check();
        slab.page.begin(was, address, pages_of_it);
        noticed
    };
    assert!(pages.check());
    assert!(damaged(Kind::Tail, 1) && damaged(Kind::Slab, 3) && damaged(Kind::Large, 7));
    // SAFETY: allocated above, freed once.
    unsafe { pages.free(behind.page) };
    behind.page.begin(Kind::Large, behind.address.addr(), 2);
    assert!(!pages.check(), "free pages have no kind");
    behind.page.end();
    assert!(pages.check());
}

#[test]
fn what_was_refused_is_counted() {
    let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
    let pages = Pages::new(source);
    source.plan(Plan::From(0));
    assert!(pages.alloc(1, 1, Kind::Large).is_none() && pages.alloc_zeroed(1, 1, Kind::Large).is_none());
    assert_eq!((pages.used(), pages.stats().refused, pages.below_peak()), (0, 2, 0));
}

fn let_go(pages: &Pages, run: Run) {
    // SAFETY: the tests' own, freed once.
    unsafe { pages.free(run.page) };
}

#[test]
fn a_run_that_a_cpu_keeps_is_free_and_found_by_nobody_else() {
    let pages = supply();
    pages.keep_runs(0);
    let runs = [1, 2].map(|span| pages.alloc(span, 1, Kind::Large).unwrap());
    runs.into_iter().for_each(|run| let_go(pages, run));
    assert_eq!((pages.used(), pages.below_peak(), pages.stats().retained), (0, 3, 3 * PAGE_SIZE));
    assert!(pages.check() && runs.iter().all(|run| run.page.kind() == Kind::Idle && pages.large_len(run.address).is_none()));
    for run in runs {
        assert_eq!(pages.slab_of(core::ptr::null(), run.address.addr()).unwrap_err(), crate::fault::Fault::DoubleFree);
        // SAFETY: the page is nobody's now, as its content shows.
        unsafe { run.address.write(1) };
    }
    let clean = pages.alloc_zeroed(2, 1, Kind::Large).unwrap();
    assert!(!core::ptr::eq(clean.page, runs[1].page), "what was used last need not be cleared for this");
    let again = [1, 2].map(|span| pages.alloc(span, 1, Kind::Slab).unwrap());
    assert!((0..2).all(|at| core::ptr::eq(again[at].page, runs[at].page) && !again[at].zeroed));
    assert!(core::ptr::eq(pages.head_of(again[1].address.addr() + PAGE_SIZE).unwrap(), again[1].page));
    assert_eq!((pages.used(), pages.stats().retained), (5, 0));
    again.into_iter().for_each(|run| let_go(pages, run));
    let aligned = pages.alloc(2, 64, Kind::Large).unwrap();
    assert!(aligned.address.addr().is_multiple_of(64 * PAGE_SIZE), "whatever is kept");
    let_go(pages, clean);
    let_go(pages, aligned);
    assert!(pages.check());
}

#[test]
fn what_cpus_keep_goes_back_when_nobody_needs_it_and_when_told_to() {
    let pages = supply();
    pages.keep_runs(0);
    let runs = [(); 4].map(|()| pages.alloc(1, 1, Kind::Large).unwrap());
    let idle = || runs.iter().filter(|run| run.page.kind() == Kind::Idle).count();
    runs.into_iter().for_each(|run| let_go(pages, run));
    pages.age();
    assert_eq!(idle(), 4);
    let_go(pages, pages.alloc(1, 1, Kind::Large).unwrap());
    pages.age();
    assert_eq!(idle(), 1, "one was needed since");
    assert_eq!(pages.purge(true), 4 * PAGE_SIZE);
    assert_eq!((idle(), pages.stats().retained), (0, 0));
    assert!(pages.check());
}

#[test]
fn what_cpus_keep_is_no_reason_to_refuse() {
    let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
    let pages: &'static Pages = Box::leak(Box::new(Pages::new(source)));
    pages.configure(64 << 20, 0, 8 << 20, Thp::Auto);
    pages.keep_runs(0);
    let runs: Vec<_> = (0..(64 << 20) / PAGE_SIZE).map(|_| pages.alloc(1, 1, Kind::Large).unwrap()).collect();
    source.plan(Plan::From(1));
    let_go(pages, runs[10]);
    let_go(pages, runs[11]);
    let two = pages.alloc(2, 1, Kind::Large).unwrap();
    assert!(core::ptr::eq(two.page, runs[10].page) && pages.check());
    assert!(pages.alloc(1, 1, Kind::Large).is_none());
}

#[test]
fn the_hard_limit_holds_for_what_is_kept() {
    let pages = supply();
    pages.keep_runs(0);
    let runs = [(); 2].map(|()| pages.alloc(1, 1, Kind::Large).unwrap());
    let_go(pages, runs[0]);
    pages.configure(64 << 20, PAGE_SIZE, 8 << 20, Thp::Auto);
    assert!(pages.alloc(1, 1, Kind::Large).is_none() && pages.check());
    assert_eq!((runs[0].page.kind(), pages.used()), (Kind::Free, 1));
    let_go(pages, runs[1]);
    assert!(pages.alloc(1, 1, Kind::Large).is_some());
}

#[test]
fn a_fork_takes_every_lock_and_frees_it() {
    let pages = supply();
    pages.prepare_fork();
    assert!(pages.state.try_lock().is_none());
    // SAFETY: prepared just now, in this thread.
    unsafe { pages.after_fork() };
    assert!(pages.state.try_lock().is_some());
    let huge = pages.alloc_large(9 << 20, 8, false);
    // SAFETY: allocated above, with that size.
    unsafe { pages.free_large(huge, 9 << 20) };
    assert!(pages.check());
}
