//! A heap over the system's pages: which it returns, and which it may be refused.

mod common;

use common::{Strict, faults};
use kmem_base::source::{Call, FaultySource, OsSource, Plan};
use kmem_base::sync::{Lock, Rank};
use kmem_slob::{Book, Lists, Marks, Mode, RawLock, Shared, Slob, Unchecked};
use kmem_testkit::{GlobalSubject, Hooks, Profile, SplitMix64, StressConfig, ops, run_or_panic, stress_or_panic};
use std::alloc::Layout;

both!(
    the_last_free_returns_every_page,
    an_empty_page_inside_goes_back_at_once,
    a_page_in_turn_goes_back_when_others_do,
    a_heap_outgrows_its_table,
    each_call_to_the_system_fails_once,
    calls_fail_from_one_on_or_by_kind_or_at_random,
    the_oracle_finds_nothing,
    the_oracle_finds_nothing_in_a_checked_heap
);

type Faulty<B> = Slob<FaultySource, Unchecked, B>;

fn faulty<B: Book>() -> (&'static FaultySource, Faulty<B>) {
    let source = Box::leak(Box::new(FaultySource::new()));
    (source, Slob::over(source))
}

/// Pages of a free stretch that stay, since what is known of it stands in them.
trait Ends: Book {
    const PAGES: usize;
}

impl Ends for Lists {
    const PAGES: usize = 0;
}

impl Ends for Marks {
    const PAGES: usize = 2;
}

/// Pages resident among those of the block's reservation, `len` bytes from `at` on.
fn resident(at: *mut u8, len: usize) -> usize {
    let start = at.wrapping_sub(at.addr() % 4096);
    let mut pages = vec![0_u8; len / 4096];
    // SAFETY: the vector has a byte for each page; mincore looks at no contents.
    let done = unsafe { libc::mincore(start.cast(), len, pages.as_mut_ptr()) };
    assert_eq!(done, 0);
    pages.iter().filter(|page| **page & 1 == 1).count()
}

fn the_last_free_returns_every_page<B: Ends>() {
    let mut heap = Slob::<OsSource, Unchecked, B>::over(&OsSource);
    let mut rng = SplitMix64::new(1);
    let layouts: Vec<_> = (0..3000).map(|_| Layout::from_size_align(rng.between(1, 3000), 8).unwrap()).collect();
    let first = heap.alloc(layouts[0]);
    let blocks: Vec<_> = layouts[1..].iter().map(|layout| (heap.alloc(*layout), *layout)).collect();
    for (at, layout) in &blocks {
        // SAFETY: fresh blocks.
        unsafe { at.write_bytes(1, layout.size()) };
    }
    let (start, len) = (first.wrapping_sub(first.addr() % 65536), 4 << 20);
    assert!(resident(start, len) > 900);
    for (at, layout) in blocks {
        // SAFETY: live.
        unsafe { heap.dealloc(at, layout) };
    }
    assert_eq!(heap.check(), Ok(()));
    let (kept, table) = (resident(start, len), heap.stats().table.div_ceil(4096));
    assert!(kept <= heap.stats().pages / 128 + table + 3 + 2 * B::PAGES, "{kept} pages for one block and the table");
    heap.trim();
    // The table may be in the middle of it.
    let left = resident(start, len);
    assert!(left <= 2 + table + 2 * B::PAGES, "{left} pages: the block's, and the table's {table} own");
    // SAFETY: live.
    unsafe { heap.dealloc(first, layouts[0]) };
    assert_eq!((resident(start, len), heap.stats().pages), (0, 0));
    assert!(!heap.alloc(layouts[0]).is_null(), "and it starts anew");
}

fn an_empty_page_inside_goes_back_at_once<B: Ends>() {
    let mut heap = Slob::<OsSource, Unchecked, B>::over(&OsSource);
    let page = Layout::from_size_align(1 << 20, 4096).unwrap();
    let blocks: Vec<_> = (0..3).map(|_| heap.alloc(page)).collect();
    // SAFETY: live blocks.
    unsafe {
        blocks.iter().for_each(|at| at.write_bytes(1, page.size()));
        heap.dealloc(blocks[1], page);
    }
    assert!(resident(blocks[1], page.size()) <= B::PAGES);
    assert_eq!(resident(blocks[2], page.size()), 256);
    // It is there again for the next.
    let again = heap.alloc(page);
    assert!((blocks[0]..blocks[2]).contains(&again) && resident(again, page.size()) <= B::PAGES);
}

fn a_page_in_turn_goes_back_when_others_do<B: Ends>() {
    let mut heap = Slob::<OsSource, Unchecked, B>::over(&OsSource);
    let large = Layout::from_size_align(4 << 20, 4096).unwrap();
    let (block, _keep) = (heap.alloc(large), heap.alloc(large));
    // SAFETY: live; what is freed is allocated anew, in part.
    unsafe {
        block.write_bytes(1, large.size());
        heap.dealloc(block, large);
        assert!(resident(block, large.size()) <= B::PAGES);
        for pages in [1, 3, 7, 2] {
            let layout = Layout::from_size_align(pages * 4096, 4096).unwrap();
            let some: Vec<_> = (0..9).map(|_| heap.alloc(layout)).collect();
            some.iter().for_each(|at| at.write_bytes(1, layout.size()));
            // Every second one first: the note of free pages is of one piece.
            [0, 2, 4, 6, 8, 1, 3].iter().for_each(|index| heap.dealloc(some[*index], layout));
            assert_eq!(heap.check(), Ok(()));
            let part = heap.alloc(Layout::new::<[u64; 100]>());
            [5, 7].iter().for_each(|index| heap.dealloc(some[*index], layout));
            heap.dealloc(part, Layout::new::<[u64; 100]>());
        }
    }
    heap.trim();
    let left = resident(block, large.size());
    assert!(left <= B::PAGES, "{left} pages");
    assert_eq!(heap.check(), Ok(()));
}

/// Small blocks only: no request is larger than the table that the heap needs next. Lists once refused at 46 MB.
fn a_heap_outgrows_its_table<B: Ends>() {
    let mut heap = Slob::<OsSource, Unchecked, B>::over(&OsSource);
    let layout = Layout::from_size_align(4000, 8).unwrap();
    for number in 0..16_000 {
        assert!(!heap.alloc(layout).is_null(), "block {number}: {:?}", heap.stats());
    }
    assert!(heap.stats().pages < 16_500);
}

/// Random work; returns how many requests were refused. Nothing may be lost meanwhile.
fn work<B: Book>(heap: &mut Faulty<B>, seed: u64) -> usize {
    let mut rng = SplitMix64::new(seed);
    let (mut blocks, mut refused) = (Vec::<(*mut u8, Layout)>::new(), 0);
    for _ in 0..600 {
        if rng.below(3) > 0 || blocks.is_empty() {
            let top = 1 << rng.between(1, 18);
            let layout = Layout::from_size_align(rng.between(1, top), 1 << rng.below(13)).unwrap();
            let at = heap.alloc(layout);
            refused += usize::from(at.is_null());
            blocks.extend((!at.is_null()).then_some((at, layout)));
            continue;
        }
        let index = rng.below(blocks.len());
        let ((block, layout), size) = (blocks[index], rng.between(1, 100_000));
        // SAFETY: live.
        let moved = unsafe { heap.realloc(block, layout, size) };
        if !moved.is_null() {
            blocks[index] = (moved, Layout::from_size_align(size, layout.align()).unwrap());
        }
        refused += usize::from(moved.is_null());
        if rng.below(2) == 0 {
            let (block, layout) = blocks.swap_remove(index);
            // SAFETY: live.
            unsafe { heap.dealloc(block, layout) };
        }
    }
    assert_eq!(heap.check(), Ok(()));
    for (at, layout) in blocks {
        // SAFETY: live.
        unsafe { heap.dealloc(at, layout) };
    }
    assert_eq!((heap.check(), heap.stats().pages), (Ok(()), 0), "all of it went back");
    refused
}

fn each_call_to_the_system_fails_once<B: Book>() {
    let (source, mut heap) = faulty::<B>();
    source.plan(Plan::Never);
    assert_eq!(work(&mut heap, 3), 0);
    let calls = source.calls();
    assert!(calls > 20, "{calls} calls");
    for number in 0..calls {
        let (source, mut heap) = faulty::<B>();
        source.plan(Plan::Nth(number));
        work(&mut heap, 3);
        assert_eq!(source.failures(), 1, "call {number}");
        source.plan(Plan::Never);
        assert_eq!(work(&mut heap, 4), 0, "nothing was lost to call {number}");
    }
}

fn calls_fail_from_one_on_or_by_kind_or_at_random<B: Book>() {
    let plans = (0..40).step_by(3).map(Plan::From);
    let kinds = Call::ALL.map(Plan::Kind);
    let random = (0..8).map(|seed| Plan::Random { seed, one_in: 2 + seed });
    for plan in plans.chain(kinds).chain(random) {
        let (source, mut heap) = faulty::<B>();
        source.plan(plan);
        work(&mut heap, 5);
        source.plan(Plan::Never);
        assert_eq!(work(&mut heap, 6), 0, "nothing was lost to {plan:?}");
    }
}

/// kmem's own lock as the heap's.
struct KmemLock(Lock<(), { Rank::Shard.of() }>);

// SAFETY: acquired until released.
unsafe impl RawLock for KmemLock {
    fn lock(&self) {
        self.0.acquire();
    }
    unsafe fn unlock(&self) {
        // SAFETY: the caller's.
        unsafe { self.0.release() };
    }
}

type Global<B, M = Unchecked> = Shared<KmemLock, kmem_slob::Paged<OsSource>, M, B>;

fn check<B: Book, M: Mode>(heap: &Global<B, M>) -> Result<(), String> {
    heap.locked(|heap| heap.check()).map_err(|broken| format!("{broken:?}"))
}

fn the_oracle_finds_nothing<B: Book>() {
    ask::<B, Unchecked>();
}

fn the_oracle_finds_nothing_in_a_checked_heap<B: Book>() {
    ask::<B, Strict>();
    assert_eq!(faults(), []);
}

fn ask<B: Book, M: Mode>() {
    let heap = Global::<B, M>::with(KmemLock(Lock::new(())), kmem_slob::Paged::new(&OsSource));
    let hooks = || Hooks {
        check: Some(Box::new(|| check(&heap))),
        trim: Some(Box::new(|| heap.locked(|heap| _ = heap.trim()))),
        ..Hooks::default()
    };
    let subject = GlobalSubject::new(&heap).with_hooks(hooks());
    for (seed, profile) in [(1, Profile::Small), (2, Profile::Mixed), (3, Profile::Large)] {
        run_or_panic(&subject, &ops(seed, if profile == Profile::Large { 200 } else { 3000 }, profile));
    }
    assert_eq!(heap.locked(|heap| heap.stats().pages), 0);
    let config = StressConfig { threads: 4, ops_per_thread: 4000, seed: 9, respawn: true, ..StressConfig::default() };
    stress_or_panic(&subject, &config);
    assert_eq!(heap.locked(|heap| (heap.check(), heap.stats().pages)), (Ok(()), 0));
}
