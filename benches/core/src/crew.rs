//! A crew of workers behind a start line: all wait until everybody is ready, then the clock runs until the last ends.

use std::fmt::{self, Display};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// Stack of a worker thread; small, because hackbench starts thousands.
pub(crate) const STACK: usize = 256 * 1024;

/// What a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Threads,
    Processes,
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threads => "threads",
            Self::Processes => "processes",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "threads" => Ok(Self::Threads),
            "processes" => Ok(Self::Processes),
            _ => Err(format!("'{text}' is neither threads nor processes")),
        }
    }
}

/// Two pipes, because they work between threads and between processes alike.
pub(crate) struct StartLine {
    ready: (PipeReader, PipeWriter),
    go: (PipeReader, PipeWriter),
}

impl StartLine {
    fn new() -> io::Result<Self> {
        Ok(Self { ready: io::pipe()?, go: io::pipe()? })
    }

    /// A worker's side: says that it is ready and sleeps until all are.
    pub(crate) fn wait(&self) {
        let reached = (&self.ready.1).write_all(&[1]).and_then(|()| (&self.go.0).read_exact(&mut [0]));
        reached.unwrap_or_else(|error| fail(&format!("start line: {error}")));
    }

    /// The starter's side: waits for the worker that it has just started.
    ///
    /// One at a time: thousands of threads that start at once measure the locks of thread creation, and some
    /// allocators spin for minutes there.
    fn expect_ready(&self) {
        let ready = (&self.ready.0).read_exact(&mut [0]);
        ready.unwrap_or_else(|error| fail(&format!("start line: {error}")));
    }

    /// The starter's side: lets the crew go.
    fn open(&self, crew: usize) -> Instant {
        let signs = vec![1; crew];
        let clock = Instant::now();
        let opened = (&self.go.1).write_all(&signs);
        opened.unwrap_or_else(|error| fail(&format!("start line: {error}")));
        clock
    }
}

/// The work of one worker. It prepares itself, calls [`StartLine::wait`] once, and then does what is timed.
pub(crate) type Job<'a> = Box<dyn FnOnce(&StartLine) + Send + 'a>;

/// Runs one worker per job and returns the time from the start to the end of the last.
pub(crate) fn race(kind: Kind, jobs: Vec<Job<'_>>) -> Result<Duration> {
    let line = StartLine::new()?;
    match kind {
        Kind::Threads => race_threads(&line, jobs),
        Kind::Processes => race_processes(&line, jobs),
    }
}

fn race_threads(line: &StartLine, jobs: Vec<Job<'_>>) -> Result<Duration> {
    thread::scope(|scope| {
        let mut crew = Vec::with_capacity(jobs.len());
        for job in jobs {
            let worker = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || job(line));
            crew.push(worker.unwrap_or_else(|error| fail(&format!("cannot start a thread: {error}"))));
            line.expect_ready();
        }
        let clock = line.open(crew.len());
        for worker in crew {
            worker.join().map_err(|_| "a worker thread panicked")?;
        }
        Ok(clock.elapsed())
    })
}

fn race_processes(line: &StartLine, jobs: Vec<Job<'_>>) -> Result<Duration> {
    let mut crew = Vec::with_capacity(jobs.len());
    for job in jobs {
        crew.push(fork(|| job(line))?);
        line.expect_ready();
    }
    let clock = line.open(crew.len());
    for worker in crew {
        reap(worker)?;
    }
    Ok(clock.elapsed())
}

/// Starts a process that runs `work` and nothing after it.
fn fork(work: impl FnOnce()) -> io::Result<libc::pid_t> {
    // SAFETY: the caller is the only thread of this process, so the child finds no lock held.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: plain system calls. A worker must not outlive its starter, nor run the starter's exit handlers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            work();
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        worker => Ok(worker),
    }
}

fn reap(worker: libc::pid_t) -> Result<()> {
    let mut status = 0;
    // SAFETY: `status` is valid for the write.
    if unsafe { libc::waitpid(worker, &mut status, 0) } != worker {
        return Err(io::Error::last_os_error().into());
    }
    if status == 0 { Ok(()) } else { Err(format!("a worker process ended with status {status:#x}").into()) }
}

/// Ends the run: the rest of the crew may be waiting for this worker, so unwinding would hang.
pub(crate) fn fail(message: &str) -> ! {
    eprintln!("kmem-bench: {message}");
    // SAFETY: _exit may be called from any thread.
    unsafe { libc::_exit(1) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn nobody_starts_before_everybody_is_ready() {
        let ready = AtomicUsize::new(0);
        let job = |line: &StartLine| {
            ready.fetch_add(1, Ordering::SeqCst);
            line.wait();
            assert_eq!(ready.load(Ordering::SeqCst), 3);
        };
        let jobs: Vec<Job<'_>> = (0..3).map(|_| Box::new(job) as Job<'_>).collect();
        race(Kind::Threads, jobs).unwrap();
    }

    #[test]
    fn kinds_read_back() {
        for kind in [Kind::Threads, Kind::Processes] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("fibres".parse::<Kind>().is_err());
    }
}
