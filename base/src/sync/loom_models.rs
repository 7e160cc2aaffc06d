//! Models of the lock, on the production source.

extern crate std;

use super::explore::explore;
use super::{Lock, Rank};
use loom::sync::Arc;
use loom::thread;

type Counter = Lock<usize, { Rank::Shard.of() }>;

#[test]
fn loom_a_lock_lets_one_in_and_hands_on_what_was_written() {
    explore(|| {
        let counter = Arc::new(Counter::new(0));
        let other = counter.clone();
        let thread = thread::spawn(move || *other.lock() += 1);
        *counter.lock() += 1;
        thread.join().unwrap();
        assert_eq!(*counter.lock(), 2);
    });
}

#[test]
fn loom_a_try_that_fails_found_the_lock_held() {
    explore(|| {
        let counter = Arc::new(Counter::new(0));
        let other = counter.clone();
        let thread = thread::spawn(move || {
            let mut guard = other.lock();
            *guard += 1;
        });
        let mine = counter.try_lock().map(|mut guard| *guard += 1).is_some();
        thread.join().unwrap();
        assert_eq!(*counter.lock(), 1 + usize::from(mine));
    });
}
