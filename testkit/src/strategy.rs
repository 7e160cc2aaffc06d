//! Operations for property tests.

use crate::driver::Failure;
use crate::exec::Report;
use crate::op::{Op, op_list};
use crate::profile::{Band, Profile};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::strategy::Union;
use proptest::test_runner::{Config, TestError, TestRunner};

const SLOTS: u16 = 64;
const LONGEST: usize = 400;

/// Sequences of operations of a profile, for use with proptest. They shrink to
/// few operations and small sizes.
pub fn strategy(profile: Profile) -> impl Strategy<Value = Vec<Op>> {
    vec(op(profile), 1..LONGEST)
}

/// Tests that `test` succeeds with `cases` random sequences of operations.
///
/// # Panics
/// When a case fails or panics, with the smallest failing sequence found.
pub fn property(profile: Profile, cases: u32, test: impl Fn(&[Op]) -> Result<Report, Failure>) {
    let config = Config {
        cases,
        // Runs are short: better many of them than a long list to read.
        max_shrink_iters: 20_000,
        // The failing sequence is printed; no file needs to remember its seed.
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&strategy(profile), |ops| {
        test(&ops)?;
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        // Panics of the subject do not list the operations as failures do.
        Err(TestError::Fail(reason, ops)) if !reason.message().contains("let ops") => {
            panic!("{reason}\nlet ops = {};", op_list(&ops))
        }
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
    }
}

fn op(profile: Profile) -> impl Strategy<Value = Op> {
    let reallocs = profile.reallocs() as u32 / 10;
    let batches = profile.batches() as u32 / 20;
    let alloc = (0..SLOTS, size(profile), align(profile), any::<u8>()).prop_map(|(slot, size, align, dice)| Op::Alloc {
        slot,
        size,
        align,
        zeroed: dice > 230,
    });
    let realloc = (0..SLOTS, size(profile)).prop_map(|(slot, size)| Op::Realloc { slot, size });
    let count = 1..=profile.batch_max() as u16;
    let alloc_batch = (0..SLOTS, count.clone(), size(profile)).prop_map(|(slot, count, size)| Op::AllocBatch { slot, count, size });
    let free_batch = (0..SLOTS, count).prop_map(|(slot, count)| Op::FreeBatch { slot, count });
    prop_oneof![
        50 => alloc,
        35 => (0..SLOTS).prop_map(|slot| Op::Free { slot }),
        reallocs => realloc,
        batches => alloc_batch,
        batches => free_batch,
        1 => Just(Op::Trim),
        1 => Just(Op::Check),
        1 => Just(Op::Drain),
        1 => (0..SLOTS).prop_map(|slot| Op::Pass { slot }),
    ]
}

fn size(profile: Profile) -> impl Strategy<Value = usize> {
    // Borders of size classes first, then anything between two of them.
    let border = logs(profile.sizes())
        .prop_flat_map(|log| (Just(1usize << log), -8isize..=1))
        .prop_map(|(top, off)| top.saturating_add_signed(off).max(1));
    let between = logs(profile.sizes()).prop_flat_map(|log| (1usize << log) / 2 + 1..=1 << log);
    prop_oneof![1 => border, 2 => between]
}

fn align(profile: Profile) -> impl Strategy<Value = usize> {
    logs(profile.aligns()).prop_map(|log| 1 << log)
}

fn logs(bands: &'static [Band]) -> impl Strategy<Value = u32> {
    Union::new_weighted(bands.iter().map(|&(weight, low, high)| (weight, low..=high)).collect())
}
