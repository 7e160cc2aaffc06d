//! The page supply by itself: runs, alignment, zero pages, decay, large and huge blocks, failures.

#![cfg(not(loom))]

use kmem_base::config::{HUGE_PAGE, PAGE_SIZE};
use kmem_base::pages::{Grown, Kind, Pages, Run, Thp};
use kmem_base::source::{Call, FaultySource, Plan, os_page};
use kmem_testkit::SplitMix64;

fn supply() -> (&'static Pages, &'static FaultySource) {
    let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
    let pages: &'static Pages = Box::leak(Box::new(Pages::new(source)));
    pages.configure(64 << 20, 0, 8 << 20, Thp::Auto);
    (pages, source)
}

fn free(pages: &Pages, run: Run) {
    // SAFETY: tests free what they allocated, once.
    unsafe { pages.free(run.page) };
}

/// A `Run` is a handle that can be copied: the test that holds it owns its bytes.
fn bytes(run: Run) -> &'static mut [u8] {
    // SAFETY: the run is the test's, and as long as its descriptor says.
    unsafe { std::slice::from_raw_parts_mut(run.address, run.page.span() as usize * PAGE_SIZE) }
}

#[test]
fn random_runs_never_overlap_and_neighbours_merge() {
    for keeps in [u32::MAX, 0] {
        runs_never_overlap(keeps);
    }
}

fn runs_never_overlap(keeps: u32) {
    let (pages, _) = supply();
    pages.keep_runs(keeps);
    let mut random = SplitMix64::new(1);
    let mut held: Vec<Run> = Vec::new();
    for round in 0..4000 {
        if random.percent(55) || held.is_empty() {
            let most = if random.percent(50) { 4 } else { 40 };
            let (span, align) = (1 + random.below(most) as u32, 1 << random.below(6));
            let run = pages.alloc(span, align, Kind::Large).unwrap();
            assert!(run.address.addr().is_multiple_of(align as usize * PAGE_SIZE));
            let range = run.address.addr()..run.address.addr() + span as usize * PAGE_SIZE;
            for other in &held {
                let end = other.address.addr() + other.page.span() as usize * PAGE_SIZE;
                assert!(range.end <= other.address.addr() || end <= range.start, "two runs overlap");
            }
            assert!(!run.zeroed || bytes(run).iter().step_by(512).all(|&byte| byte == 0));
            bytes(run)[0] = 1;
            held.push(run);
        } else {
            free(pages, held.swap_remove(random.below(held.len())));
        }
        if round % 64 == 0 {
            assert!(pages.check());
        }
    }
    let top = held.iter().map(|run| run.address.addr()).max().unwrap();
    held.drain(..).for_each(|run| free(pages, run));
    assert!(pages.check());
    pages.purge(true);
    assert!(pages.check());
    // All has merged: a run of everything that was in use fits where it was.
    let whole = pages.alloc(700, 1, Kind::Large).unwrap();
    assert!(whole.address.addr() <= top);
    free(pages, whole);
}

#[test]
fn a_request_that_skips_pages_for_its_alignment_leaves_them_to_be_found() {
    let (pages, _) = supply();
    let runs: Vec<_> = (0..15).map(|_| pages.alloc(1, 1, Kind::Large).unwrap()).collect();
    free(pages, runs[13]);
    free(pages, runs[14]);
    let aligned = pages.alloc(8, 32, Kind::Large).unwrap();
    assert!(pages.check(), "no hint hides the run that grew");
    let gap = pages.alloc(16, 1, Kind::Large).unwrap();
    assert!(gap.address < aligned.address, "it is used before anything new is");
    assert!(pages.check());
}

#[test]
fn a_search_passes_so_many_short_runs_and_the_next_goes_on_behind_them() {
    let (pages, _) = supply();
    pages.configure(1 << 30, 0, 8 << 20, Thp::Auto);
    // Holes of two pages, 700 of them, and one of three.
    let runs: Vec<_> = (0..2 * 700).map(|at| pages.alloc(if at % 2 == 0 { 2 } else { 1 }, 1, Kind::Large).unwrap()).collect();
    let last = pages.alloc(3, 1, Kind::Large).unwrap();
    let _end = pages.alloc(1, 1, Kind::Large).unwrap();
    runs.iter().step_by(2).for_each(|&run| free(pages, run));
    free(pages, last);
    assert!(pages.alloc(3, 1, Kind::Large).unwrap().address > last.address, "given up");
    assert_eq!(pages.alloc(3, 1, Kind::Large).unwrap().address, last.address, "found by the next");
    assert!(pages.alloc(3, 1, Kind::Large).unwrap().address > last.address);
    assert!(pages.alloc(2, 1, Kind::Large).unwrap().address < last.address, "what fits is found at once");
    assert!(pages.check());
}

#[test]
fn large_blocks_start_at_coarse_places() {
    let (pages, _) = supply();
    // Where an arena ends, what is left is better than another arena.
    pages.configure(1 << 30, 0, 8 << 20, Thp::Auto);
    let mut random = SplitMix64::new(5);
    for (least, align) in [(256 << 10, PAGE_SIZE), (1 << 20, 256 << 10), (4 << 20, 1 << 20)] {
        for _ in 0..50 {
            assert!(!pages.alloc_large(100_000 + random.below(1 << 20), 8, false).is_null());
            let block = pages.alloc_large(least + random.below(least), 8, false);
            assert!(block.addr().is_multiple_of(align), "{least}");
        }
    }
    assert!(pages.check());
}

#[test]
fn a_run_that_grows_to_the_threshold_gets_a_mapping_of_its_own() {
    let (pages, source) = supply();
    let block = pages.alloc_large(2 << 20, 8, false);
    // SAFETY: the block is live, and its size what it was last changed to.
    unsafe {
        block.add((2 << 20) - 1).write(7);
        source.plan(Plan::Kind(Call::Map));
        assert_eq!(pages.resize_large(block, 2 << 20, 8 << 20, 8), Grown::Done(block), "in place, for want of a mapping");
        let behind = pages.alloc(1, 1, Kind::Large).unwrap();
        assert_eq!(pages.resize_large(block, 8 << 20, 9 << 20, 8), Grown::Copy, "somebody is behind it");
        source.plan(Plan::Never);
        free(pages, behind);
        let Grown::Done(moved) = pages.resize_large(block, 8 << 20, 9 << 20, 8) else { panic!("refused") };
        assert!(moved != block && pages.page_of(moved.addr()).is_none() && !pages.is_used(block.addr()));
        assert_eq!((moved.add((2 << 20) - 1).read(), moved.add((8 << 20) - 1).read()), (7, 0));
        pages.free_large(moved, 9 << 20);
    }
    assert!(pages.check());
    assert_eq!(pages.stats().used, 0);
}

#[test]
fn a_hole_in_a_run_reads_as_zero_and_the_rest_as_before() {
    let (pages, source) = supply();
    let run = pages.alloc(4, 1, Kind::Large).unwrap();
    bytes(run).fill(3);
    source.plan(Plan::Kind(Call::Purge));
    // SAFETY: the bytes are this test's, whole OS pages of the run.
    assert!(!unsafe { pages.punch(run.page, &(PAGE_SIZE..2 * PAGE_SIZE)) });
    source.plan(Plan::Never);
    // SAFETY: as above.
    assert!(unsafe { pages.punch(run.page, &(PAGE_SIZE..2 * PAGE_SIZE)) });
    let filled = |at: usize| bytes(run)[at * PAGE_SIZE..(at + 1) * PAGE_SIZE].iter().all(|&byte| byte == 3);
    assert!(filled(0) && !filled(1) && filled(2) && bytes(run)[PAGE_SIZE..2 * PAGE_SIZE].iter().all(|&byte| byte == 0));
    free(pages, run);
    assert!(!pages.alloc(4, 1, Kind::Large).unwrap().zeroed, "its pages count as dirty");
}

#[test]
fn only_pages_that_may_be_dirty_are_cleared() {
    let (pages, source) = supply();
    let run = pages.alloc(8, 1, Kind::Large).unwrap();
    assert!(run.zeroed, "fresh from the system");
    bytes(run)[3 * PAGE_SIZE..5 * PAGE_SIZE].fill(7);
    free(pages, run);
    let again = pages.alloc(8, 1, Kind::Large).unwrap();
    assert!(!again.zeroed);
    free(pages, again);
    let cleared = pages.alloc_zeroed(8, 1, Kind::Large).unwrap();
    assert!(cleared.zeroed && bytes(cleared).iter().all(|&byte| byte == 0));
    bytes(cleared).fill(9);
    free(pages, cleared);
    // A purge that fails leaves them dirty, one that works zero.
    source.plan(Plan::Kind(Call::Purge));
    assert_eq!(pages.purge(true), 0);
    source.plan(Plan::Never);
    let dirty = pages.alloc(8, 1, Kind::Large).unwrap();
    assert!(!dirty.zeroed && bytes(dirty)[0] == 9);
    free(pages, dirty);
    assert_eq!(pages.purge(true), 8 * PAGE_SIZE);
    let zero = pages.alloc(8, 1, Kind::Large).unwrap();
    assert!(zero.zeroed && bytes(zero).iter().all(|&byte| byte == 0));
}

#[test]
fn dirty_pages_are_cleared_wherever_they_lie_and_no_others() {
    let (pages, _) = supply();
    let before = pages.alloc(5, 1, Kind::Large).unwrap();
    let parts: Vec<_> = (0..16).map(|_| pages.alloc(7, 1, Kind::Large).unwrap()).collect();
    let behind = pages.alloc(3, 1, Kind::Large).unwrap();
    [before, behind].iter().for_each(|&run| bytes(run).fill(0xEE));
    // All clean again, and then every second one dirty.
    parts.iter().for_each(|&part| free(pages, part));
    pages.purge(true);
    let parts: Vec<_> = parts.iter().map(|_| pages.alloc(7, 1, Kind::Large).unwrap()).collect();
    parts.iter().step_by(2).for_each(|&part| bytes(part).fill(7));
    parts.iter().skip(1).step_by(2).for_each(|&part| assert!(part.zeroed));
    parts.iter().for_each(|&part| free(pages, part));
    let whole = pages.alloc_zeroed(16 * 7, 1, Kind::Large).unwrap();
    assert_eq!(whole.address.addr(), before.address.addr() + 5 * PAGE_SIZE);
    assert!(bytes(whole).iter().all(|&byte| byte == 0));
    assert!([before, behind].iter().all(|&run| bytes(run).iter().all(|&byte| byte == 0xEE)));
}

/// Runs in any order, zeroed or not: what was asked to be zero is, and nobody else's bytes are touched.
#[test]
fn clearing_a_run_touches_no_other() {
    let (pages, _) = supply();
    let mut random = SplitMix64::new(7);
    // A byte at either end of each page.
    let ends = |run: Run| (0..2 * run.page.span() as usize).map(|at| at / 2 * PAGE_SIZE + at % 2 * (PAGE_SIZE - 1));
    let holds = |run: Run, byte: u8| ends(run).all(|at| bytes(run)[at] == byte);
    let mut held: Vec<(Run, u8)> = Vec::new();
    for round in 0..800_u32 {
        if random.percent(55) && held.len() < 60 {
            let span = 1 + random.below(12) as u32;
            let zeroed = random.percent(60);
            let run = if zeroed { pages.alloc_zeroed(span, 1, Kind::Large) } else { pages.alloc(span, 1, Kind::Large) }.unwrap();
            assert!(!run.zeroed || holds(run, 0));
            assert!(held.iter().all(|&(other, byte)| holds(other, byte)), "round {round}");
            let byte = 1 + random.below(255) as u8;
            ends(run).for_each(|at| bytes(run)[at] = byte);
            held.push((run, byte));
        } else if !held.is_empty() {
            free(pages, held.swap_remove(random.below(held.len())).0);
        }
        if round % 200 == 0 {
            pages.purge(true);
        }
    }
    assert!(pages.check());
}

#[test]
fn free_pages_go_back_after_two_ticks_and_not_before() {
    let (pages, _) = supply();
    let run = pages.alloc(32, 1, Kind::Large).unwrap();
    free(pages, run);
    assert_eq!(pages.decay(), 0, "free since just now");
    assert_eq!(pages.stats().retained, 32 * PAGE_SIZE);
    let used = pages.alloc(4, 1, Kind::Large).unwrap();
    assert_eq!(pages.decay(), 28 * PAGE_SIZE, "what was used again has another interval");
    free(pages, used);
    assert_eq!(pages.decay() + pages.decay(), 4 * PAGE_SIZE);
    assert_eq!(pages.stats().retained, 0);
}

#[test]
fn a_large_block_grows_and_shrinks_where_it_is() {
    let (pages, _) = supply();
    let block = pages.alloc_large(100_000, 8, false);
    // SAFETY: the block is live, and its size what it was last changed to.
    unsafe {
        assert_eq!(pages.resize_large(block, 100_000, 5_000_000, 8), Grown::Done(block), "nothing is behind it");
        block.add(4_999_999).write(1);
        assert_eq!(pages.large_len(block), Some(5_000_000_usize.next_multiple_of(PAGE_SIZE)));
        assert_eq!(pages.resize_large(block, 5_000_000, 70_000, 8), Grown::Done(block));
        let next = pages.alloc_large(100_000, 8, false);
        assert_eq!(next.addr(), block.addr() + 2 * PAGE_SIZE, "what it gave up is used again");
        assert_eq!(pages.resize_large(block, 70_000, 200_000, 8), Grown::Copy, "now somebody is behind it");
        pages.free_large(next, 100_000);
        pages.free_large(block, 70_000);
    }
    assert!(pages.check());
    assert_eq!(pages.stats().used, 0);
}

#[test]
fn a_run_that_has_to_move_in_order_to_grow_is_copied_for_the_last_time() {
    let (pages, source) = supply();
    let block = pages.alloc_large(300_000, 8, false);
    let behind = pages.alloc(1, 1, Kind::Large).unwrap();
    // SAFETY: the block is live, and its size what it was last changed to.
    unsafe {
        block.add(299_999).write(7);
        assert_eq!(pages.resize_large(block, 300_000, 400_000, 8), Grown::Copy, "too small for a mapping");
        source.plan(Plan::Kind(Call::Map));
        assert_eq!(pages.resize_large(block, 300_000, 600_000, 8), Grown::Copy, "there is none");
        source.plan(Plan::Never);
        let Grown::Done(moved) = pages.resize_large(block, 300_000, 600_000, 8) else { panic!("refused") };
        assert!(pages.page_of(moved.addr()).is_none() && !pages.is_used(block.addr()));
        let Grown::Done(grown) = pages.resize_large(moved, 600_000, 3 << 20, 8) else { panic!("copied") };
        assert_eq!((grown.add(299_999).read(), grown.add((3 << 20) - 1).read()), (7, 0));
        pages.free_large(grown, 3 << 20);
    }
    free(pages, behind);
    assert!(pages.check());
    assert_eq!(pages.stats().used, 0);
}

#[test]
fn a_run_that_becomes_a_mapping_is_there_once() {
    for refused in [false, true] {
        let (pages, source) = supply();
        let old = (5 << 20) + 12_345;
        let block = pages.alloc_large(old, 8, false);
        // SAFETY: the block is live, of that size, and freed once, where it is then.
        unsafe {
            (0..old).step_by(997).for_each(|at| block.add(at).write(at as u8));
            if refused {
                source.plan(Plan::Kind(Call::Purge));
            }
            let Grown::Done(moved) = pages.resize_large(block, old, 9 << 20, 8) else { panic!("refused") };
            source.plan(Plan::Never);
            assert!(pages.page_of(moved.addr()).is_none() && (0..old).step_by(997).all(|at| moved.add(at).read() == at as u8));
            let clean = pages.alloc_zeroed(81, 1, Kind::Large).unwrap();
            assert!(bytes(clean).iter().step_by(61).all(|byte| *byte == 0));
            free(pages, clean);
            pages.free_large(moved, 9 << 20);
        }
        assert!(pages.check());
    }
}

/// A run that was purged when it became a mapping is kept, used again, and given out as zero: once its content was not.
#[test]
fn a_kept_run_that_was_purged_is_dirty_once_it_is_used_again() {
    let (pages, _) = supply();
    pages.keep_runs(0);
    let block = pages.alloc_large(150_000, 8, false);
    // SAFETY: the block is live, of that size, and freed once, where it is then.
    unsafe {
        block.write(1);
        let Grown::Done(moved) = pages.resize_large(block, 150_000, 9 << 20, 8) else { panic!("refused") };
        pages.free_large(moved, 9 << 20);
    }
    let again = pages.alloc(3, 1, Kind::Large).unwrap();
    assert_eq!(again.address, block, "the CPU kept it");
    bytes(again).fill(2);
    free(pages, again);
    pages.age();
    pages.age();
    let clean = pages.alloc_zeroed(3, 1, Kind::Large).unwrap();
    assert!(clean.address == block && bytes(clean).iter().all(|byte| *byte == 0));
    free(pages, clean);
}

#[test]
fn a_huge_block_grows_without_being_copied() {
    let (pages, source) = supply();
    let block = pages.alloc_large(9 << 20, 8, true);
    // SAFETY: the block is live, and its size what it was last changed to.
    unsafe {
        block.add((9 << 20) - 1).write(5);
        let other = pages.alloc_large((8 << 20) + 1, 8, false);
        assert_eq!(pages.large_len(block), Some(9 << 20));
        assert_eq!(pages.large_len(other), Some(((8 << 20) + 1_usize).next_multiple_of(os_page())));
        assert_eq!(pages.large_len(block.add(1)), None);
        assert!(pages.check(), "with two huge blocks in the table");
        pages.free_large(other, (8 << 20) + 1);
        let Grown::Done(grown) = pages.resize_large(block, 9 << 20, 40 << 20, 8) else { panic!("copied") };
        assert!(block.addr().is_multiple_of(HUGE_PAGE) && grown.addr().is_multiple_of(HUGE_PAGE), "huge pages move whole");
        assert_eq!((grown.add((9 << 20) - 1).read(), grown.add((40 << 20) - 1).read()), (5, 0));
        source.plan(Plan::Kind(Call::Remap));
        assert_eq!(pages.resize_large(grown, 40 << 20, 80 << 20, 8), Grown::Copy, "unchanged if the system refuses");
        source.plan(Plan::Never);
        assert_eq!(grown.add((9 << 20) - 1).read(), 5);
        pages.free_large(grown, 40 << 20);
    }
    assert!(pages.check());
    assert_eq!(pages.stats().used, 0);
}

#[test]
fn alignments_beyond_the_address_space_are_refused() {
    let (pages, _) = supply();
    for shift in 41..63 {
        assert!(pages.alloc_large(1, 1 << shift, false).is_null(), "aligned to 2^{shift}");
    }
    let block = pages.alloc_large(1, 1 << 30, false);
    assert!(!block.is_null() && block.addr().is_multiple_of(1 << 30));
}

#[test]
fn refused_memory_reserves_no_further_address_space() {
    let (pages, source) = supply();
    let first = pages.alloc(1, 1, Kind::Large).unwrap();
    let reserved = pages.stats().reserved;
    source.plan(Plan::Kind(Call::Commit));
    assert!((0..100).all(|_| pages.alloc(500, 1, Kind::Large).is_none()));
    assert_eq!(pages.stats().reserved, reserved);
    source.plan(Plan::Never);
    free(pages, pages.alloc(500, 1, Kind::Large).unwrap());
    free(pages, first);
    assert!(pages.check());
}

#[test]
fn more_arenas_are_added_when_one_is_full() {
    let (pages, source) = supply();
    let runs: Vec<_> = (0..40).map(|_| pages.alloc(128, 1, Kind::Large).unwrap()).collect();
    assert!(pages.stats().reserved >= 40 * 128 * PAGE_SIZE);
    for run in &runs {
        let last = run.address.addr() + 128 * PAGE_SIZE - 1;
        assert!(std::ptr::eq(pages.page_of(run.address.addr()).unwrap(), run.page));
        assert!(pages.page_of(last).is_some() && pages.is_used(last));
    }
    source.plan(Plan::Kind(Call::Reserve));
    assert!(pages.alloc(1 << 20, 1, Kind::Large).is_none());
    assert!(pages.page_of(0).is_none() && pages.page_of(usize::MAX).is_none());
    runs.into_iter().for_each(|run| free(pages, run));
    assert!(pages.check());
}

#[test]
fn the_limit_counts_huge_blocks_too() {
    let (pages, _) = supply();
    pages.configure(64 << 20, 20 << 20, 8 << 20, Thp::Auto);
    let block = pages.alloc_large(16 << 20, 8, false);
    assert!(!block.is_null());
    assert!(pages.alloc_large(8 << 20, 8, false).is_null());
    assert!(pages.alloc(100, 1, Kind::Large).is_none());
    // SAFETY: the block is live, of that size.
    unsafe {
        assert_eq!(pages.resize_large(block, 16 << 20, 32 << 20, 8), Grown::Copy);
        pages.free_large(block, 16 << 20);
    }
    assert_eq!(pages.stats().used, 0);
    assert!(pages.stats().refused >= 3);
}

#[test]
fn where_nothing_new_can_be_had_a_search_does_not_give_up() {
    let (pages, source) = supply();
    pages.configure(1 << 30, 0, 8 << 20, Thp::Auto);
    let runs: Vec<_> = (0..2 * 1500).map(|at| pages.alloc(if at % 2 == 0 { 2 } else { 1 }, 1, Kind::Large).unwrap()).collect();
    let last = pages.alloc(3, 1, Kind::Large).unwrap();
    // What was made writable in advance is used up.
    source.plan(Plan::Kind(Call::Commit));
    while pages.alloc(1, 1, Kind::Large).is_some() {}
    runs.iter().step_by(2).for_each(|&run| free(pages, run));
    free(pages, last);
    for _ in 0..3 {
        let found = pages.alloc(3, 1, Kind::Large).expect("there is a run of three pages");
        assert_eq!(found.address, last.address);
        free(pages, found);
    }
    assert!(pages.check());
}

#[test]
fn an_alignment_that_nobody_asked_for_is_no_reason_to_refuse() {
    let (pages, source) = supply();
    let _before = pages.alloc(1, 1, Kind::Large).unwrap();
    let run = pages.alloc(16, 1, Kind::Large).unwrap();
    source.plan(Plan::Kind(Call::Commit));
    while pages.alloc(1, 1, Kind::Large).is_some() {}
    free(pages, run);
    let refused = pages.stats().refused;
    let block = pages.alloc_large(16 * PAGE_SIZE, 8, false);
    assert_eq!(block, run.address, "a megabyte, at no multiple of a quarter of it");
    assert_eq!(pages.stats().refused, refused);
    assert!(pages.check());
}

/// More threads than sets that they come to; every page of a run says whose it is.
#[test]
fn threads_whose_cpus_keep_runs_share_none() {
    let (pages, _) = supply();
    pages.keep_runs(0);
    std::thread::scope(|scope| {
        for thread in 1..=4_u8 {
            scope.spawn(move || {
                let (mut random, mut held) = (SplitMix64::new(u64::from(thread)), Vec::new());
                for round in 0..3000 {
                    if random.percent(50) || held.is_empty() {
                        let run = pages.alloc(1 + random.below(5) as u32, 1, Kind::Large).unwrap();
                        bytes(run).iter_mut().step_by(PAGE_SIZE).for_each(|byte| *byte = thread);
                        held.push(run);
                    } else {
                        let run = held.swap_remove(random.below(held.len()));
                        assert!(bytes(run).iter().step_by(PAGE_SIZE).all(|byte| *byte == thread), "somebody else's");
                        free(pages, run);
                    }
                    if round % 500 == usize::from(thread) {
                        pages.decay();
                    }
                }
                held.into_iter().for_each(|run| free(pages, run));
            });
        }
    });
    assert!(pages.check() && pages.used() == 0);
    pages.purge(true);
    assert!(pages.check() && pages.stats().retained == 0);
}
