//! The system allocator passes everything.

use kmem_testkit::{
    FixedSubject, GlobalSubject, Hooks, Op, Profile, RunConfig, StressConfig, ops, property, run, run_or_panic, run_with,
    stress_or_panic,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PROFILES: [Profile; 4] = [Profile::Small, Profile::Mixed, Profile::Large, Profile::Fixed];
const OBJECT: Layout = Layout::new::<[u64; 6]>();

fn system() -> GlobalSubject<'static, System> {
    GlobalSubject::new(&System)
}

fn cache() -> FixedSubject<'static> {
    // SAFETY: the layout is not empty.
    let alloc = || unsafe { System.alloc(OBJECT) };
    // SAFETY: only blocks of this cache come here.
    let free = |ptr| unsafe { System.dealloc(ptr, OBJECT) };
    FixedSubject::new(OBJECT, alloc, free)
}

#[test]
fn seeded_ops_pass() {
    for profile in PROFILES {
        let n = if profile == Profile::Large { 1_000 } else { 10_000 };
        let report = run_or_panic(&system(), &ops(42, n, profile));
        assert_eq!(report.ops, n);
        assert_eq!(report.allocs, report.frees);
        assert!(report.allocs > n / 10 && report.peak_blocks > 10);
        assert_eq!(report.nulls, 0);
    }
}

#[test]
fn any_op_is_valid() {
    let huge = usize::MAX;
    let odd = [
        Op::Free { slot: 9 },
        Op::Realloc { slot: 9, size: 0 },
        Op::Alloc { slot: u16::MAX, size: 0, align: 0, zeroed: true },
        Op::Alloc { slot: 1, size: 100, align: 3, zeroed: true },
        Op::Alloc { slot: 1, size: 8, align: huge, zeroed: false },
        Op::Realloc { slot: 1, size: huge },
        Op::AllocBatch { slot: u16::MAX, count: u16::MAX, size: 0 },
        Op::FreeBatch { slot: 3, count: u16::MAX },
        Op::Pass { slot: 0 },
    ];
    for slots in [1, 3, 64] {
        let config = RunConfig { slots, check_every: 1 };
        let report = run_with(&system(), &odd, &config).unwrap();
        assert_eq!(report.allocs, report.frees);
    }
}

#[test]
fn properties_pass() {
    for profile in PROFILES {
        let cases = if profile == Profile::Large { 8 } else { 32 };
        property(profile, cases, |ops| run(&system(), ops));
    }
}

#[test]
fn fixed_cache_ignores_sizes() {
    let report = run_or_panic(&cache(), &ops(3, 5_000, Profile::Mixed));
    assert_eq!(report.peak_bytes, report.peak_blocks * OBJECT.size());
    let batches = cache().with_batch(
        |out| {
            // SAFETY: the layout is not empty.
            out.fill_with(|| unsafe { System.alloc(OBJECT) });
            out.len()
        },
        |ptrs| {
            for &ptr in ptrs {
                // SAFETY: only blocks of this cache come here.
                unsafe { System.dealloc(ptr, OBJECT) };
            }
        },
    );
    run_or_panic(&batches, &ops(4, 5_000, Profile::Fixed));
}

#[test]
fn hooks_are_called() {
    let (trims, drains, checks) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |counter: &AtomicUsize| {
        counter.fetch_add(1, Relaxed);
    };
    let subject = system().with_hooks(Hooks {
        trim: Some(Box::new(|| count(&trims))),
        drain: Some(Box::new(|| count(&drains))),
        check: Some(Box::new(|| {
            count(&checks);
            Ok(())
        })),
        may_fail: false,
    });
    run_or_panic(&subject, &[Op::Trim, Op::Drain, Op::Drain, Op::Check]);
    // One check by the operation, one before and one after the clean-up.
    let counts = [&trims, &drains, &checks].map(|counter| counter.load(Relaxed));
    assert_eq!(counts, [1, 2, 3]);
}

#[test]
fn stress_passes() {
    for (profile, respawn) in [(Profile::Small, false), (Profile::Mixed, true)] {
        let config = StressConfig { profile, respawn, ops_per_thread: 10_000, ..StressConfig::default() };
        let report = stress_or_panic(&system(), &config);
        assert_eq!(report.ops, config.threads * config.ops_per_thread);
        assert_eq!(report.allocs, report.frees);
        assert!(report.passes > 100 && report.peak_blocks > 100);
    }
}

#[test]
fn stress_works_with_one_thread_and_with_many() {
    for threads in [1, 2, 13] {
        let config =
            StressConfig { threads, ops_per_thread: 1_000, slots: 16, respawn: true, pass_percent: 50, ..StressConfig::default() };
        stress_or_panic(&cache(), &config);
    }
}
