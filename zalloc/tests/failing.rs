//! A system that refuses: each call once, each kind for good, at random, with and without threads. Refusals are right answers, nothing
//! is lost, and once they end a second run gets all it asks for.

mod common;

use common::{Op, World};
use kmem_base::source::{Call, FaultySource, GatedSource, Permit, Plan};
use kmem_zalloc::{AllocError, Budget, Zspool};
use std::thread;

type Faulty = Zspool<FaultySource>;

fn pool() -> Faulty {
    Zspool::builder().shards(2).source(FaultySource::new()).build()
}

/// Grows, thins, compacts, punches and empties a pool.
fn demanding() -> Vec<Op> {
    let mut ops = Vec::new();
    for round in 0..16_u16 {
        ops.extend((0..9).map(|at| Op::Insert { size: 1 + (usize::from(round / 4) * 977 + at * 331) % 4096, seed: at as u8 }));
        ops.extend((0..5).map(|at| Op::Free { which: round * 31 + at * 7 }));
        ops.push(Op::Pin { which: round });
        match round % 8 {
            1 => ops.push(Op::Compact { budget: 20 }),
            4 => ops.push(Op::Punch),
            5 => ops.push(Op::Unpin { which: 0 }),
            6 => ops.push(Op::Trim),
            7 => ops.push(Op::CompactAll),
            _ => {}
        }
    }
    ops
}

/// Runs `ops` while the source follows `plan`, then again while it does not. Returns how often the first run was refused.
fn survives(plan: Plan, ops: &[Op]) -> usize {
    let pool = pool();
    pool.source().plan(plan);
    let mut world = World::new(&pool);
    ops.iter().for_each(|op| world.apply(*op));
    world.finish();
    let refusals = world.refusals;
    pool.source().plan(Plan::Never);
    let mut world = World::new(&pool);
    ops.iter().for_each(|op| world.apply(*op));
    world.finish();
    assert_eq!(world.refusals, 0, "{plan:?} has left nothing behind");
    pool.trim();
    assert_eq!(pool.stats().resident, 0, "{plan:?}: everything can be given back");
    refusals
}

/// Calls that the demanding sequence makes without failures.
fn calls(ops: &[Op]) -> u64 {
    let pool = pool();
    pool.source().plan(Plan::Never);
    let mut world = World::new(&pool);
    ops.iter().for_each(|op| world.apply(*op));
    world.finish();
    assert_eq!(world.refusals, 0);
    pool.source().calls()
}

#[test]
fn each_call_may_fail_once() {
    let ops = demanding();
    let calls = calls(&ops);
    assert!(calls > 20, "the sequence is demanding: {calls}");
    for number in 0..calls {
        survives(Plan::Nth(number), &ops);
    }
}

#[test]
fn every_call_may_fail_from_some_point_on() {
    let ops = demanding();
    let mut refusals = 0;
    for number in 0..calls(&ops) {
        refusals += survives(Plan::From(number), &ops);
    }
    assert!(refusals > 0);
}

#[test]
fn each_kind_of_call_may_always_fail() {
    let ops = demanding();
    let refused = Call::ALL.map(|call| survives(Plan::Kind(call), &ops) > 0);
    assert_eq!(refused, Call::ALL.map(|call| matches!(call, Call::Reserve | Call::Commit)));
}

#[test]
fn calls_may_fail_at_random_under_threads() {
    let ops = demanding();
    for seed in 0..8 {
        let pool = pool();
        pool.source().plan(Plan::Random { seed, one_in: 3 });
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut world = World::new(&pool);
                    // Not `CompactAll`, of which only one thread is told that everything is done.
                    ops.iter().filter(|op| !matches!(op, Op::CompactAll)).for_each(|op| world.apply(*op));
                    world.leave();
                });
            }
        });
        pool.check().unwrap();
        pool.source().plan(Plan::Never);
        pool.trim();
        let stats = pool.stats();
        assert_eq!((stats.objects, stats.spans, stats.resident), (0, 0, 0));
    }
}

#[test]
fn what_the_system_will_not_take_back_is_used_again() {
    let pool = pool();
    let fill = || (0..2000).map(|at| pool.insert(&common::bytes(1000, at as u8)).unwrap()).collect::<Vec<_>>();
    let handles = fill();
    let resident = pool.stats().resident;
    pool.source().plan(Plan::Kind(Call::Purge));
    handles.into_iter().for_each(|handle| pool.free(handle).unwrap());
    assert_eq!((pool.trim(), pool.stats().resident), (0, resident));
    pool.check().unwrap();
    fill();
    assert!(pool.stats().resident <= resident + (64 << 10), "but for the last span, which was not full");
    pool.check().unwrap();
}

#[test]
fn the_limit_is_kept_and_nothing_is_lost_at_it() {
    let limit = 1 << 20;
    let pool = Zspool::builder().limit(limit).shards(1).build();
    let mut handles = Vec::new();
    for at in 0.. {
        match pool.insert(&common::bytes(700 + at % 3000, at as u8)) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                assert_eq!(error, AllocError::Limit);
                break;
            }
        }
        assert!(pool.stats().resident <= limit);
    }
    pool.check().unwrap();
    // Free places have memory that counts; it must not stand in the way of another class.
    let sum: usize = handles.iter().map(|handle| pool.size(*handle).unwrap()).sum();
    assert!(sum > limit / 2, "of {limit} bytes {sum} could be used");
    handles.drain(..).for_each(|handle| pool.free(handle).unwrap());
    for at in 0..limit / 4096 {
        handles.push(pool.insert(&common::bytes(4096, at as u8)).unwrap());
    }
    assert_eq!(pool.insert(&[1]), Err(AllocError::Limit));
    pool.compact(Budget::UNLIMITED);
    pool.check().unwrap();
}

#[test]
fn a_shard_without_address_space_is_followed_by_another() {
    let narrow: Permit = |call, len| call != Call::Reserve || len <= 6 << 20;
    let pool = Zspool::builder().shards(4).source(GatedSource(narrow)).build();
    let mut handles = Vec::new();
    while let Ok(handle) = pool.insert(&common::bytes(4096, handles.len() as u8)) {
        handles.push(handle);
    }
    let stats = pool.stats();
    assert_eq!(stats.shards, 4);
    assert!(stats.requested > 4 << 20, "four times a MiB or more: {}", stats.requested);
    pool.check().unwrap();
    for (at, handle) in handles.iter().enumerate() {
        assert_eq!(&*pool.read(*handle).unwrap(), &common::bytes(4096, at as u8)[..]);
    }
    assert_eq!(pool.free(handles[0]), Ok(()));
    assert!(pool.insert(&[1; 4096]).is_ok(), "whichever shard has room");
}
