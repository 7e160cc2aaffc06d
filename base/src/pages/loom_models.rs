//! Models of pages changing hands.

extern crate std;

use super::{Kind, Pages, Run, Thp};
use crate::config::PAGE_SIZE;
use crate::source::Scratch;
use crate::sync::UnsafeCell;
use crate::sync::explore::explore;
use loom::thread;
use std::sync::Arc;
use std::vec::Vec;

/// Pages that the models use.
const PAGES: usize = 12;

/// A supply with one arena, which begins at page `first`.
struct World {
    pages: Pages,
    first: usize,
    /// Notes accesses to each page's bytes, so that loom knows of them.
    bytes: [UnsafeCell<()>; PAGES],
}

// SAFETY: the cells are what checks it.
unsafe impl Sync for World {}

impl World {
    /// With `runs` of one page each in use and written to.
    fn new(source: &'static Scratch, runs: usize) -> (Arc<Self>, Vec<Run>) {
        source.begin();
        let pages = Pages::new(source);
        pages.configure(64 * PAGE_SIZE, 0, 32 << 20, Thp::Off);
        let first = pages.alloc(1, 1, Kind::Large).unwrap();
        let world = Self { pages, first: first.address.addr(), bytes: std::array::from_fn(|_| UnsafeCell::new(())) };
        world.free(&first);
        let runs: Vec<_> = (0..runs).map(|_| world.pages.alloc(1, 1, Kind::Large).unwrap()).collect();
        runs.iter().for_each(|run| world.write(run));
        (Arc::new(world), runs)
    }

    fn cell(&self, run: &Run) -> &UnsafeCell<()> {
        &self.bytes[(run.address.addr() - self.first) / PAGE_SIZE]
    }

    fn write(&self, run: &Run) {
        // SAFETY: the run is the caller's.
        self.cell(run).with_mut(|_| unsafe { run.address.write(0xA5) });
    }

    fn read(&self, run: &Run) -> u8 {
        // SAFETY: as above.
        self.cell(run).with(|_| unsafe { run.address.read() })
    }

    fn free(&self, run: &Run) {
        // SAFETY: the models free each run once.
        unsafe { self.pages.free(run.page) };
    }

    /// A zeroed run of one page, which is then written to.
    fn take_zeroed(&self) -> Run {
        let run = self.pages.alloc_zeroed(1, 1, Kind::Large).unwrap();
        assert_eq!(self.read(&run), 0);
        self.write(&run);
        run
    }

    /// Everything adds up with these runs in use, each of one page, and what is free comes out zero where that is asked for.
    fn settle(&self, held: &[Run]) {
        assert!(self.pages.check());
        assert_eq!(self.pages.stats().used, held.len() * PAGE_SIZE);
        for (at, run) in held.iter().enumerate() {
            assert_eq!(run.page.kind(), Kind::Large);
            assert!(held[..at].iter().all(|other| other.address != run.address), "handed out twice");
            assert!(core::ptr::eq(self.pages.page_of(run.address.addr()).unwrap(), run.page));
        }
        held.iter().for_each(|run| self.free(run));
        (0..4).for_each(|_| _ = self.take_zeroed());
    }
}

#[test]
fn loom_pages_freed_by_one_come_zeroed_to_another() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (world, runs) = World::new(&SOURCE, 2);
        let theirs = world.clone();
        let freer = thread::spawn(move || {
            theirs.write(&runs[0]);
            theirs.free(&runs[0]);
            runs[1]
        });
        let mine = world.take_zeroed();
        world.settle(&[mine, freer.join().unwrap()]);
    });
}

#[test]
fn loom_two_who_allocate_first_share_one_arena() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        SOURCE.begin();
        let pages = Arc::new(Pages::new(&SOURCE));
        pages.configure(64 * PAGE_SIZE, 0, 32 << 20, Thp::Off);
        let theirs = pages.clone();
        let other = thread::spawn(move || theirs.alloc(1, 1, Kind::Large).unwrap());
        let mine = pages.alloc(1, 1, Kind::Large).unwrap();
        let run = other.join().unwrap();
        assert_ne!(mine.address, run.address);
        assert_eq!(pages.stats().reserved, 64 * PAGE_SIZE);
        for run in [mine, run] {
            assert!(core::ptr::eq(pages.page_of(run.address.addr()).unwrap(), run.page));
        }
        assert!(pages.check());
    });
}

#[test]
fn loom_a_purge_leaves_what_others_take_alone() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (world, runs) = World::new(&SOURCE, 2);
        runs.iter().for_each(|run| world.free(run));
        let theirs = world.clone();
        let purger = thread::spawn(move || theirs.pages.purge(true));
        let mine = world.pages.alloc(1, 1, Kind::Large).unwrap();
        world.write(&mine);
        purger.join().unwrap();
        assert_eq!(world.read(&mine), 0xA5);
        world.settle(&[mine]);
    });
}

#[test]
fn loom_no_dirty_page_looks_clean_while_it_ages() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (world, runs) = World::new(&SOURCE, 1);
        world.free(&runs[0]);
        let theirs = world.clone();
        let taker = thread::spawn(move || theirs.take_zeroed());
        world.pages.decay();
        let run = taker.join().unwrap();
        assert_eq!(world.read(&run), 0xA5);
        world.settle(&[run]);
    });
}

#[test]
fn loom_who_sees_a_page_below_the_limit_sees_its_descriptor() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (world, _) = World::new(&SOURCE, 0);
        let theirs = world.clone();
        // As a free of a foreign pointer does.
        let looker = thread::spawn(move || {
            let found = theirs.pages.page_of(theirs.first + 6 * PAGE_SIZE);
            found.is_none_or(|page| page.kind() == Kind::Free)
        });
        let run = world.pages.alloc(8, 1, Kind::Large).unwrap();
        assert!(looker.join().unwrap());
        assert!(core::ptr::eq(world.pages.page_of(world.first).unwrap(), run.page));
    });
}

#[test]
fn loom_of_two_who_want_the_last_page_of_the_limit_one_gets_it() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (world, runs) = World::new(&SOURCE, 1);
        world.pages.configure(64 * PAGE_SIZE, 2 * PAGE_SIZE, 32 << 20, Thp::Off);
        let theirs = world.clone();
        let other = thread::spawn(move || theirs.pages.alloc(1, 1, Kind::Large));
        let mine = world.pages.alloc(1, 1, Kind::Large);
        let held: Vec<_> = [mine, other.join().unwrap(), Some(runs[0])].into_iter().flatten().collect();
        assert_eq!(held.len(), 2);
        world.pages.configure(64 * PAGE_SIZE, 0, 32 << 20, Thp::Off);
        world.settle(&held);
    });
}
