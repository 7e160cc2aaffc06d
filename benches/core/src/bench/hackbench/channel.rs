//! The in-process transport: a mailbox per receiver. Only the message itself is allocated per message.

use std::hint::black_box;
use std::time::Duration;

use super::mailbox::Mailbox;
use super::{Load, message};
use crate::Result;
use crate::crew::{Job, Kind, race};

type Message = Box<[u8]>;

/// Runs the load on threads.
pub(super) fn run(load: Load) -> Result<Duration> {
    let mailboxes: Vec<Mailbox<Message>> = (0..load.groups * load.fds).map(|_| Mailbox::new()).collect();
    let jobs = mailboxes.chunks(load.fds).flat_map(|group| group_jobs(load, group)).collect();
    race(Kind::Threads, jobs)
}

fn group_jobs(load: Load, group: &[Mailbox<Message>]) -> Vec<Job<'_>> {
    let mut jobs: Vec<Job<'_>> = group.iter().map(|mailbox| receiver(load, mailbox)).collect();
    jobs.extend((0..load.fds).map(|index| sender(load, group, index)));
    jobs
}

/// Each sender goes round the receivers from another point: in step they would all wait for the same one.
fn sender(load: Load, group: &[Mailbox<Message>], index: usize) -> Job<'_> {
    Box::new(move |line| {
        line.wait();
        for mailbox in group.iter().cycle().skip(index).take(load.messages_per_worker()) {
            mailbox.send(message(load));
        }
        group.iter().for_each(Mailbox::flush);
    })
}

fn receiver(load: Load, mailbox: &Mailbox<Message>) -> Job<'_> {
    Box::new(move |line| {
        let mut batch = Mailbox::batch();
        line.wait();
        let mut left = load.messages_per_worker();
        while left > 0 {
            mailbox.take(&mut batch);
            left -= batch.len();
            batch.drain(..).for_each(|message| drop(black_box(message)));
        }
    })
}
