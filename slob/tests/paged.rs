//! A heap over the system's pages: which it returns, and which it may be refused.

use kmem_base::source::{Call, FaultySource, OsSource, Plan};
use kmem_base::sync::{Lock, Rank};
use kmem_slob::{RawLock, Shared, Slob};
use kmem_testkit::{GlobalSubject, Hooks, Profile, SplitMix64, StressConfig, ops, run_or_panic, stress_or_panic};
use std::alloc::Layout;

type Faulty = Slob<FaultySource>;

fn faulty() -> (&'static FaultySource, Faulty) {
    let source = Box::leak(Box::new(FaultySource::new()));
    (source, Slob::over(source))
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

#[test]
fn the_last_free_returns_every_page() {
    let mut heap = Slob::<OsSource>::over(&OsSource);
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
    let kept = resident(start, len);
    assert!(kept <= heap.stats().pages / 128 + 4, "{kept} pages for one block and the table");
    heap.trim();
    assert!(resident(start, len) <= 3, "the block's page, and the tables' own");
    // SAFETY: live.
    unsafe { heap.dealloc(first, layouts[0]) };
    assert_eq!((resident(start, len), heap.stats().pages), (0, 0));
    assert!(!heap.alloc(layouts[0]).is_null(), "and it starts anew");
}

#[test]
fn an_empty_page_inside_goes_back_at_once() {
    let mut heap = Slob::<OsSource>::over(&OsSource);
    let page = Layout::from_size_align(1 << 20, 4096).unwrap();
    let blocks: Vec<_> = (0..3).map(|_| heap.alloc(page)).collect();
    // SAFETY: live blocks.
    unsafe {
        blocks.iter().for_each(|at| at.write_bytes(1, page.size()));
        heap.dealloc(blocks[1], page);
    }
    assert_eq!(resident(blocks[1], page.size()), 0);
    assert_eq!(resident(blocks[2], page.size()), 256);
    // It is there again for the next.
    let again = heap.alloc(page);
    assert!((blocks[0]..blocks[2]).contains(&again) && resident(again, page.size()) == 0);
}

/// Random work; returns how many requests were refused. Nothing may be lost meanwhile.
fn work(heap: &mut Faulty, seed: u64) -> usize {
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

#[test]
fn each_call_to_the_system_fails_once() {
    let (source, mut heap) = faulty();
    source.plan(Plan::Never);
    assert_eq!(work(&mut heap, 3), 0);
    let calls = source.calls();
    assert!(calls > 20, "{calls} calls");
    for number in 0..calls {
        let (source, mut heap) = faulty();
        source.plan(Plan::Nth(number));
        work(&mut heap, 3);
        assert_eq!(source.failures(), 1, "call {number}");
        source.plan(Plan::Never);
        assert_eq!(work(&mut heap, 4), 0, "nothing was lost to call {number}");
    }
}

#[test]
fn calls_fail_from_one_on_or_by_kind_or_at_random() {
    let plans = (0..40).step_by(3).map(Plan::From);
    let kinds = Call::ALL.map(Plan::Kind);
    let random = (0..8).map(|seed| Plan::Random { seed, one_in: 2 + seed });
    for plan in plans.chain(kinds).chain(random) {
        let (source, mut heap) = faulty();
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

type Global = Shared<KmemLock, kmem_slob::Paged<OsSource>, kmem_slob::Unchecked>;

fn check(heap: &Global) -> Result<(), String> {
    heap.locked(|heap| heap.check()).map_err(|broken| format!("{broken:?}"))
}

#[test]
fn the_oracle_finds_nothing() {
    let heap = Global::with(KmemLock(Lock::new(())), kmem_slob::Paged::new(&OsSource));
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
