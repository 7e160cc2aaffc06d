//! The oracle catches allocators that are broken on purpose.

mod subject;

use kmem_testkit::{
    Extent, Failure, GlobalSubject, Hooks, Op, Profile, StressConfig, Violation, ops, property, run, run_or_panic, stress,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use subject::{AtLeast32, Broken, Fault};

fn alloc(slot: u16, size: usize) -> Op {
    Op::Alloc { slot, size, align: 8, zeroed: false }
}

/// The failure of a subject that breaks at its first chance.
fn failure(fault: Fault, ops: &[Op]) -> Failure {
    run(&Broken::new(fault, 0), ops).unwrap_err()
}

#[test]
fn overlap_is_found() {
    let ops = [alloc(0, 64), alloc(1, 32), alloc(2, 32)];
    for (fault, offset) in [(Fault::Twice, 0), (Fault::Inside, 16)] {
        let failure = failure(fault, &ops);
        assert_eq!(failure.ops, ops[..2]);
        let Violation::Overlap { new, live } = failure.cause else {
            panic!("{failure}");
        };
        assert_eq!((new.addr - live.addr, new.size, live.size), (offset, 32, 64));
    }
}

#[test]
fn misalignment_is_found() {
    let failure = failure(Fault::Misaligned, &[alloc(0, 32), alloc(1, 32)]);
    assert!(matches!(failure.cause, Violation::Misaligned { .. }), "{failure}");
}

#[test]
fn corruption_is_found_at_free_realloc_and_check() {
    let ends = [Op::Free { slot: 0 }, Op::Realloc { slot: 0, size: 90 }, Op::Check, Op::Trim];
    for size in [32, 5000, 3 << 20] {
        for end in ends {
            let failure = failure(Fault::Scribble, &[alloc(0, size), alloc(1, 32), end]);
            let Violation::Corrupt { block, mismatch } = &failure.cause else {
                panic!("{failure}");
            };
            assert_eq!((block.size, mismatch.offset, mismatch.found), (size, 20, 0));
            assert_eq!(failure.at_end, end == Op::Trim);
        }
    }
}

#[test]
fn dirty_zeroes_are_found() {
    // Even beyond the size where contents are only sampled.
    for size in [1, 100, 5000, 3_000_001] {
        let failure = failure(Fault::Dirty, &[Op::Alloc { slot: 0, size, align: 1, zeroed: true }]);
        let Violation::NotZeroed { mismatch, .. } = &failure.cause else {
            panic!("{failure}");
        };
        assert_eq!((mismatch.offset, mismatch.found), (size - 1, 7));
    }
}

#[test]
fn lost_prefix_is_found() {
    for (from, to) in [(32, 64), (64, 32), (10_000, 20_000), (3 << 20, 2 << 20)] {
        let failure = failure(Fault::LostPrefix, &[alloc(0, from), Op::Realloc { slot: 0, size: to }]);
        let Violation::LostPrefix { old, new, mismatch } = &failure.cause else {
            panic!("{failure}");
        };
        assert_eq!((old.size, new.size, mismatch.offset), (from, to, from.min(to) - 1));
    }
}

#[test]
fn null_is_found_unless_allowed() {
    let failure = failure(Fault::Null, &[alloc(0, 32), alloc(1, 32)]);
    assert!(matches!(failure.cause, Violation::Null { .. }), "{failure}");

    struct Never;
    // SAFETY: null is always a permitted answer.
    unsafe impl GlobalAlloc for Never {
        unsafe fn alloc(&self, _: Layout) -> *mut u8 {
            ptr::null_mut()
        }
        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
    }
    let hooks = Hooks { may_fail: true, ..Hooks::default() };
    let report = run_or_panic(&GlobalSubject::new(&Never).with_hooks(hooks), &ops(1, 1000, Profile::Mixed));
    assert!(report.nulls > 100 && report.allocs == 0);
}

#[test]
fn failed_check_is_reported() {
    let hooks = Hooks { check: Some(Box::new(|| Err("bad list".into()))), ..Hooks::default() };
    let failure = run(&GlobalSubject::new(&System).with_hooks(hooks), &[Op::Check]).unwrap_err();
    assert_eq!(failure.cause, Violation::Check("bad list".into()));
}

#[test]
fn failure_prints_facts_and_rust() {
    let text = failure(Fault::Inside, &[alloc(0, 64), alloc(1, 32)]).to_string();
    let op = "Op::Alloc { slot: 1, size: 32, align: 8, zeroed: false }";
    assert!(text.starts_with(&format!("op 1 {op}: new block 0x")), "{text}");
    assert!(text.ends_with(&format!("    {op},\n];")), "{text}");
    let block = Extent { addr: 0x1000, size: 32, align: 8 };
    let text = Violation::NotLive { block }.to_string();
    assert_eq!(text, "block 0x1000..0x1020 (size 32, align 8) is not live");
}

#[test]
fn property_shrinks_to_the_fault() {
    let smallest = |fault| {
        let fails = || property(Profile::Small, 50, |ops| run(&Broken::new(fault, 0), ops));
        *catch_unwind(fails).unwrap_err().downcast::<String>().unwrap()
    };
    let text = smallest(Fault::Dirty);
    let op = "Op::Alloc { slot: 0, size: 1, align: 1, zeroed: true }";
    assert!(text.ends_with(&format!("let ops = [\n    {op},\n];")), "{text}");
    // A panic, which needs a block to be live.
    let text = smallest(Fault::Panic);
    assert!(text.contains("broken subject\nlet ops = ["), "{text}");
    assert!(text.matches("Op::").count() <= 2, "{text}");
}

/// The violation found when threads use a subject that breaks late.
fn stress_violation(fault: Fault) -> Violation {
    let config = StressConfig { ops_per_thread: 5_000, respawn: true, ..StressConfig::default() };
    let failure = stress(&AtLeast32(Broken::new(fault, 300)), &config).unwrap_err();
    assert!(failure.to_string().contains("StressConfig { threads: 4, "), "{failure}");
    failure.cause
}

#[test]
fn stress_finds_all_faults() {
    use Violation::*;
    let found = stress_violation;
    // A reallocation by another thread may see these two first.
    let twice = found(Fault::Twice);
    assert!(matches!(twice, Overlap { .. } | LostPrefix { .. }), "{twice}");
    let scribble = found(Fault::Scribble);
    assert!(matches!(scribble, Corrupt { .. } | LostPrefix { .. }), "{scribble}");
    assert!(matches!(found(Fault::Misaligned), Misaligned { .. }));
    assert!(matches!(found(Fault::Null), Null { .. }));
    assert!(matches!(found(Fault::Dirty), NotZeroed { .. }));
    assert!(matches!(found(Fault::LostPrefix), LostPrefix { .. }));
    assert_eq!(found(Fault::Panic), Panicked("broken subject".into()));
}

#[test]
fn panics_pass_through_the_single_driver() {
    let ops = [alloc(0, 32), alloc(1, 32)];
    let subject = Broken::new(Fault::Panic, 0);
    let ran = catch_unwind(AssertUnwindSafe(|| run_or_panic(&subject, &ops)));
    assert_eq!(ran.unwrap_err().downcast_ref::<&str>(), Some(&"broken subject"));
}
