//! A bounded queue with one receiver, which takes all that has arrived at once.
//!
//! It allocates nothing per message, and under load neither side sleeps or spins per message, so that the time of a
//! run is that of the messages and not that of the queue.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::crew::fail;

/// Messages that a receiver may lag behind: about twice what fits the default buffer of a socket.
const CAPACITY: usize = 512;
/// Messages for which a sleeping receiver is worth waking, as a network card holds its interrupts back.
const WORTHWHILE: usize = CAPACITY / 2;

/// The queue.
pub(super) struct Mailbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    taken: Condvar,
}

struct State<T> {
    messages: Vec<T>,
    receiver_sleeps: bool,
    senders_asleep: usize,
}

impl<T> Mailbox<T> {
    /// An empty mailbox.
    pub(super) fn new() -> Self {
        let state = State { messages: Vec::with_capacity(CAPACITY), receiver_sleeps: false, senders_asleep: 0 };
        Self { state: Mutex::new(state), arrived: Condvar::new(), taken: Condvar::new() }
    }

    /// An empty batch of the right size for [`Mailbox::take`].
    pub(super) fn batch() -> Vec<T> {
        Vec::with_capacity(CAPACITY)
    }

    /// Puts a message in; sleeps while the mailbox is full.
    pub(super) fn send(&self, message: T) {
        let mut state = self.lock();
        while state.messages.len() == CAPACITY {
            state.senders_asleep += 1;
            state = self.taken.wait(state).unwrap_or_else(|_| poisoned());
            state.senders_asleep -= 1;
        }
        state.messages.push(message);
        self.wake_receiver(state, WORTHWHILE);
    }

    /// Makes sure that what is in the mailbox gets read: every sender's last act.
    pub(super) fn flush(&self) {
        self.wake_receiver(self.lock(), 1);
    }

    fn wake_receiver(&self, mut state: MutexGuard<'_, State<T>>, worthwhile: usize) {
        let wake = state.messages.len() >= worthwhile && mem::take(&mut state.receiver_sleeps);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Exchanges the empty `batch` for all messages; sleeps while there are too few.
    pub(super) fn take(&self, batch: &mut Vec<T>) {
        let mut state = self.lock();
        while state.messages.is_empty() {
            state.receiver_sleeps = true;
            state = self.arrived.wait(state).unwrap_or_else(|_| poisoned());
        }
        mem::swap(&mut state.messages, batch);
        let wake = state.senders_asleep > 0;
        drop(state);
        if wake {
            self.taken.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|_| poisoned())
    }
}

fn poisoned() -> ! {
    fail("a worker panicked")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn everything_arrives_although_the_mailbox_overflows() {
        let mailbox = Mailbox::new();
        let sum = thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    (1..=2 * CAPACITY).for_each(|n| mailbox.send(n));
                    mailbox.flush();
                });
            }
            let mut batch = Mailbox::batch();
            let (mut left, mut sum) = (3 * 2 * CAPACITY, 0);
            while left > 0 {
                mailbox.take(&mut batch);
                left -= batch.len();
                sum += batch.drain(..).sum::<usize>();
            }
            sum
        });
        assert_eq!(sum, 3 * CAPACITY * (2 * CAPACITY + 1));
    }
}
