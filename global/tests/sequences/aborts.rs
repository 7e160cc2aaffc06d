//! Every sequence, aborted after every instruction, comes to one of the ends that it could have come to without.

use super::ground::{Filling, MOST, NOWHERE, SHAPE};
use super::lab::{Case, Event, Kind, Lab, Op, with_lab};
use std::collections::BTreeMap;

/// Objects in a sheaf, if there is one.
const SHEAVES: [Option<usize>; 4] = [None, Some(0), Some(1), Some(SHAPE.cap as usize)];

/// Every operation, on every filling of its row and others; with and without a drain since the lease.
fn cases() -> Vec<Case> {
    let ops = [Op::Pop, Op::Push, Op::SwapIf(0), Op::SwapIf(1), Op::Unstash, Op::Stash];
    let rotations = [Op::RotatePop(0), Op::RotatePop(1), Op::RotatePush(0), Op::RotatePush(1)];
    ops.into_iter().chain(rotations).flat_map(cases_of).collect()
}

fn cases_of(op: Op) -> Vec<Case> {
    let pairs = SHEAVES.iter().flat_map(|&main| SHEAVES.map(|spare| Filling { main, spare, stash: 1 }));
    let fillings: Vec<_> = match op {
        Op::Pop | Op::Push | Op::SwapIf(_) => SHEAVES.map(|main| Filling { main, spare: Some(2), stash: 1 }).into(),
        Op::RotatePop(_) | Op::RotatePush(_) => pairs.collect(),
        Op::Unstash | Op::Stash => (0..=MOST).map(|stash| Filling { main: Some(1), spare: None, stash }).collect(),
    };
    // Of the other row, a rotation meets each sheaf once as the main and once as the spare one.
    let met = if fillings.len() > SHEAVES.len() { [3, 6, 8, 13].map(|at| fillings[at]).into() } else { fillings.clone() };
    let is_leased = !matches!(op, Op::Pop | Op::Push | Op::RotatePop(1) | Op::RotatePush(1));
    let leases: &[bool] = if is_leased { &[false, true] } else { &[false] };
    let cases = fillings.iter().flat_map(|&a| met.iter().map(move |&b| [a, b, a]));
    cases.flat_map(|fillings| leases.iter().map(move |&stale| Case { op, fillings, row: 0, stale })).collect()
}

/// Runs the case with `kind` before each instruction at which it matters.
fn everywhere(lab: &mut Lab<'_>, case: &Case, kind: Kind) {
    let points = lab.hold(case, &[]).points;
    // Some of them refuse before they look at a row.
    assert!(points.len() > 1, "{points:?}");
    for at in points {
        lab.hold(case, &[Event { at, kind }]);
    }
}

#[test]
fn uninterrupted_operations_do_what_the_model_does() {
    with_lab(|lab| {
        for case in cases() {
            lab.hold(&case, &[]);
            lab.hold(&Case { row: NOWHERE, ..case }, &[]);
        }
    });
}

#[test]
fn an_abort_anywhere_loses_nothing() {
    with_lab(|lab| {
        let mut aborts = BTreeMap::new();
        for case in cases() {
            lab.machine.aborted.clear();
            for to in [0, 1, NOWHERE] {
                everywhere(lab, &case, Kind::GoesOn(to));
            }
            *aborts.entry(format!("{:?}", case.op)).or_insert(0) += lab.machine.aborted.len();
            everywhere(lab, &Case { row: NOWHERE, ..case }, Kind::GoesOn(1));
        }
        println!("aborts: {aborts:?}");
        assert!(aborts.len() == 10 && aborts.values().all(|&count| count > 100));
    });
}

#[test]
fn two_aborts_anywhere_lose_nothing() {
    let differ = |case: &Case| case.fillings[0] != case.fillings[1];
    // A rotation does not ask what the main sheaf holds.
    let adds = |case: &Case| !matches!(case.op, Op::RotatePop(_) | Op::RotatePush(_)) || case.fillings[0].main == Some(1);
    let chosen = |case: &&Case| !case.stale && case.op != Op::SwapIf(1) && differ(case) && adds(case);
    with_lab(|lab| cases().iter().filter(chosen).for_each(|case| two_aborts(lab, case)));
}

/// In a section, or where it is armed, on to row 1, and then inside a section on to row 2, or back to row 0.
fn two_aborts(lab: &mut Lab<'_>, case: &Case) {
    let end = lab.hold(case, &[]);
    let leads_in = |at: &usize| end.inside.iter().any(|inside| (*at..at + 12).contains(inside));
    for at in end.points.iter().copied().filter(leads_in) {
        let first = Event { at, kind: Kind::GoesOn(1) };
        let inside = lab.hold(case, &[first]).inside;
        for later in inside.into_iter().filter(|&later| later > at) {
            let last = if later % 2 == 0 { 0 } else { 2 };
            lab.hold(case, &[first, Event { at: later, kind: Kind::GoesOn(last) }]);
        }
    }
}

#[test]
fn a_drain_anywhere_loses_nothing() {
    with_lab(|lab| {
        for case in cases() {
            everywhere(lab, &case, Kind::Drain);
        }
    });
}

#[test]
fn a_word_taken_before_the_barrier_is_not_lost() {
    with_lab(|lab| {
        // Of a rotation, which compares the epoch, the drain's first barrier has made sure that it finds the new one.
        let can_meet = |case: &&Case| match case.op {
            Op::Pop | Op::Push => true,
            Op::RotatePop(_) | Op::RotatePush(_) => case.stale,
            Op::SwapIf(_) | Op::Unstash | Op::Stash => false,
        };
        for case in cases().iter().filter(can_meet) {
            everywhere(lab, case, Kind::Exchange);
        }
    });
}
