//! Models of the pool, on the production source: whole pools of four places, whose objects are of 2 KiB, ten to a span. What is read,
//! written and copied goes through loom's cells, so that a race for an object's bytes is found even if nobody would see it.

use super::compact::Budget;
use super::error::HandleError;
use super::handle::Handle;
use super::zspool::Zspool;
use crate::explore::explore;
use kmem_base::source::Scratch;
use loom::thread;
use std::sync::Arc;

type Pool = Zspool<&'static Scratch>;

/// Bytes of an object.
const SIZE: usize = 2048;
/// Objects of a span.
const PER_SPAN: usize = 10;

fn object(byte: u8) -> [u8; SIZE] {
    [byte; SIZE]
}

fn insert(pool: &Pool, byte: u8) -> Handle {
    pool.insert(&object(byte)).unwrap()
}

fn assert_holds(pool: &Pool, handle: Handle, byte: u8) {
    let guard = pool.read(handle).unwrap();
    assert!(guard.iter().all(|found| *found == byte));
    // A point at which others may go on: the bytes must last as long as the guard.
    assert_eq!(pool.size(handle), Ok(SIZE));
    assert!(guard.iter().all(|found| *found == byte));
}

/// The same of an object that may be freed at any time.
fn assert_holds_if_any(pool: &Pool, handle: Handle, byte: u8) {
    match pool.read(handle) {
        Ok(guard) => {
            assert!(guard.iter().all(|found| *found == byte));
            let _ = pool.size(handle);
            assert!(guard.iter().all(|found| *found == byte));
        }
        Err(error) => assert_eq!(error, HandleError::Stale),
    }
}

fn empty(source: &'static Scratch) -> Arc<Pool> {
    source.begin();
    Arc::new(Zspool::builder().shards(1).source(source).build())
}

/// Two spans with one object each; compaction moves the first one's (3) to the other's (7), or the other way round.
fn sparse(source: &'static Scratch) -> (Arc<Pool>, Handle, Handle) {
    let pool = empty(source);
    let first: [Handle; PER_SPAN] = core::array::from_fn(|_| insert(&pool, 3));
    let other = insert(&pool, 7);
    first[1..].iter().for_each(|handle| pool.free(*handle).unwrap());
    (pool, first[0], other)
}

/// Every invariant holds with so many objects. Nothing is left in the end.
fn settle(pool: &Pool, held: &[(Handle, u8)]) {
    pool.check().unwrap();
    assert_eq!(pool.stats().objects, held.len());
    held.iter().for_each(|(handle, byte)| assert_holds(pool, *handle, *byte));
    held.iter().for_each(|(handle, _)| pool.free(*handle).unwrap());
    pool.check().unwrap();
    assert_eq!(pool.stats().spans, 0);
}

fn compact(pool: &Pool) -> usize {
    pool.compact(Budget::UNLIMITED).moved
}

#[test]
fn loom_a_reader_finds_an_object_whole_wherever_it_is_moved() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (pool, first, other) = sparse(&SOURCE);
        let reader = pool.clone();
        let thread = thread::spawn(move || {
            assert_holds(&reader, first, 3);
            assert_holds(&reader, other, 7);
        });
        compact(&pool);
        thread.join().unwrap();
        settle(&pool, &[(first, 3), (other, 7)]);
    });
}

#[test]
fn loom_a_guard_keeps_its_object_where_it_is() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (pool, first, other) = sparse(&SOURCE);
        let guards = [pool.read(first).unwrap(), pool.read(other).unwrap()];
        let mover = pool.clone();
        let thread = thread::spawn(move || compact(&mover));
        for _ in 0..3 {
            assert!(guards[0].iter().all(|found| *found == 3) && guards[1].iter().all(|found| *found == 7));
            // Points at which the other may go on: of the lock, as to load a word is none where the other loads it first.
            assert_eq!(pool.stats().objects, 2);
        }
        drop(guards);
        thread.join().unwrap();
        settle(&pool, &[(first, 3), (other, 7)]);
    });
}

#[test]
fn loom_an_object_freed_while_it_moves_is_released_once() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (pool, first, other) = sparse(&SOURCE);
        let freer = pool.clone();
        let thread = thread::spawn(move || {
            freer.free(first).unwrap();
            freer.free(other).unwrap();
        });
        compact(&pool);
        thread.join().unwrap();
        assert_eq!(pool.read(first).err(), Some(HandleError::Stale));
        settle(&pool, &[]);
    });
}

#[test]
fn loom_what_is_written_while_it_moves_arrives() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (pool, first, other) = sparse(&SOURCE);
        let writer = pool.clone();
        let thread = thread::spawn(move || {
            writer.write(first, &object(4)).unwrap();
            writer.write(other, &object(8)).unwrap();
        });
        compact(&pool);
        thread.join().unwrap();
        settle(&pool, &[(first, 4), (other, 8)]);
    });
}

#[test]
fn loom_a_handle_never_leads_to_the_next_object_of_its_slot() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let pool = empty(&SOURCE);
        let old = insert(&pool, 3);
        let reader = pool.clone();
        let thread = thread::spawn(move || assert_holds_if_any(&reader, old, 3));
        pool.free(old).unwrap();
        let new = insert(&pool, 9);
        thread.join().unwrap();
        assert_ne!(old, new);
        settle(&pool, &[(new, 9)]);
    });
}

#[test]
fn loom_a_span_is_not_given_back_under_a_late_guard() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let pool = empty(&SOURCE);
        let last = insert(&pool, 3);
        let reader = pool.clone();
        let thread = thread::spawn(move || assert_holds_if_any(&reader, last, 3));
        pool.free(last).unwrap();
        pool.trim();
        thread.join().unwrap();
        settle(&pool, &[]);
    });
}

#[test]
fn loom_of_two_who_free_an_object_one_does() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let pool = empty(&SOURCE);
        let handle = insert(&pool, 3);
        let other = pool.clone();
        let thread = thread::spawn(move || other.free(handle).is_ok());
        let mine = pool.free(handle).is_ok();
        assert!(mine != thread.join().unwrap());
        settle(&pool, &[]);
    });
}

#[test]
fn loom_of_free_and_the_last_guards_end_one_releases() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let pool = empty(&SOURCE);
        let handle = insert(&pool, 3);
        let guards = [pool.read(handle).unwrap(), pool.read(handle).unwrap()];
        let other = pool.clone();
        let thread = thread::spawn(move || other.free(handle).unwrap());
        drop(guards);
        thread.join().unwrap();
        settle(&pool, &[]);
    });
}

#[test]
fn loom_two_compactors_lose_nothing() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (pool, first, other) = sparse(&SOURCE);
        let mover = pool.clone();
        let thread = thread::spawn(move || compact(&mover));
        compact(&pool);
        thread.join().unwrap();
        settle(&pool, &[(first, 3), (other, 7)]);
    });
}

#[test]
fn loom_pages_are_not_punched_under_a_new_object() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let pool = empty(&SOURCE);
        // Two to a page, so that the next page has memory and no object.
        let [one, two, gone] = [3, 4, 6].map(|byte| insert(&pool, byte));
        pool.free(gone).unwrap();
        let puncher = pool.clone();
        let thread = thread::spawn(move || puncher.punch());
        let new = insert(&pool, 5);
        pool.free(two).unwrap();
        thread.join().unwrap();
        settle(&pool, &[(one, 3), (new, 5)]);
    });
}

#[test]
fn loom_two_first_objects_share_a_shard() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let pool = empty(&SOURCE);
        let other = pool.clone();
        let thread = thread::spawn(move || insert(&other, 4));
        let mine = insert(&pool, 3);
        let others = thread.join().unwrap();
        assert_eq!(pool.stats().shards, 1);
        settle(&pool, &[(mine, 3), (others, 4)]);
    });
}

#[test]
fn loom_compaction_lets_others_allocate_and_free() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (pool, first, other) = sparse(&SOURCE);
        let mover = pool.clone();
        let thread = thread::spawn(move || compact(&mover));
        pool.free(first).unwrap();
        let new = insert(&pool, 5);
        thread.join().unwrap();
        settle(&pool, &[(other, 7), (new, 5)]);
    });
}
