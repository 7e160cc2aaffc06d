//! The kernel's transports: a socket pair or a pipe per receiver, read and written by threads or processes.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Load, message};
use crate::Result;
use crate::crew::{Job, Kind, fail, race};

/// A receiver's end and the end that its senders share.
pub(super) struct Link {
    input: File,
    output: File,
}

impl Link {
    fn new(input: impl Into<OwnedFd>, output: impl Into<OwnedFd>) -> Self {
        Self { input: File::from(input.into()), output: File::from(output.into()) }
    }
}

/// A pair of connected stream sockets.
pub(super) fn socket_pair() -> io::Result<Link> {
    UnixStream::pair().map(|(input, output)| Link::new(input, output))
}

/// A pipe.
pub(super) fn pipe() -> io::Result<Link> {
    io::pipe().map(|(input, output)| Link::new(input, output))
}

/// Runs the load on threads or on processes.
pub(super) fn run(load: Load, kind: Kind, connect: fn() -> io::Result<Link>) -> Result<Duration> {
    raise_file_limit();
    let links: Vec<Link> = (0..load.groups * load.fds).map(|_| connect()).collect::<io::Result<_>>()?;
    let jobs = links.chunks(load.fds).flat_map(|group| group_jobs(load, group)).collect();
    race(kind, jobs)
}

fn group_jobs(load: Load, group: &[Link]) -> Vec<Job<'_>> {
    let mut jobs: Vec<Job<'_>> = group.iter().map(|link| receiver(load, link)).collect();
    jobs.extend(group.iter().map(|_| sender(load, group)));
    jobs
}

fn sender(load: Load, group: &[Link]) -> Job<'_> {
    Box::new(move |line| {
        line.wait();
        for _ in 0..load.loops {
            for link in group {
                let sent = (&link.output).write_all(&message(load));
                sent.unwrap_or_else(|error| fail(&format!("send: {error}")));
            }
        }
    })
}

fn receiver(load: Load, link: &Link) -> Job<'_> {
    Box::new(move |line| {
        line.wait();
        for _ in 0..load.messages_per_worker() {
            let mut buffer = vec![0; load.datasize];
            let received = (&link.input).read_exact(&mut buffer);
            received.unwrap_or_else(|error| fail(&format!("receive: {error}")));
            drop(black_box(buffer));
        }
    })
}

/// Two descriptors per receiver soon exceed the usual soft limit of 1024. Failing to raise it shows when linking.
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the write and then for the read.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}
