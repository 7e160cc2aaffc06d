//! Tests whose body runs in a process of its own.
//!
//! The parent starts the current test executable again for the one named test,
//! with a mark in the environment that names the call; the child finds the mark
//! and runs the body. A test may contain several such calls, each on a line of
//! its own; in a child all calls but one return at once.
//!
//! ```no_run
//! use kmem_testkit::child;
//!
//! // In the file of an integration test; in a module: "module::dies".
//! #[test]
//! fn dies() {
//!     child::expect_abort("dies", "kmem: double free of 0x*", || std::process::abort());
//! }
//! ```
//!
//! Under Miri, which cannot start processes, the calls return at once.

use crate::cpu::pin;
use std::env;
use std::fmt::Write;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::Location;
use std::process::{self, Command, Output};

const MARK: &str = "KMEM_TEST_CHILD";
const BEGIN: &str = "kmem-testkit: child begins";
const END: &str = "kmem-testkit: child ends";

/// Runs `body` in a child and expects it to abort (SIGABRT), with a line on
/// stderr that matches `line` as a whole; a `*` in it stands for any text.
///
/// # Panics
/// When the child does anything else.
#[track_caller]
pub fn expect_abort(test: &str, line: &str, body: impl FnOnce()) {
    Child::new(test).expect_abort(line, body);
}

/// Runs `body` in a child with additional environment variables and expects it
/// to succeed.
///
/// # Panics
/// When the body panics, aborts or was not found.
#[track_caller]
pub fn run_ok(test: &str, env: &[(&str, &str)], body: impl FnOnce()) {
    let child = env.iter().fold(Child::new(test), |child, (key, value)| child.env(key, value));
    child.expect_ok(body);
}

/// A child process for one call in one test.
#[must_use]
pub struct Child {
    test: String,
    place: String,
    env: Vec<(String, Option<String>)>,
    address_space: Option<u64>,
    cpu: Option<usize>,
    seconds: u32,
}

impl Child {
    /// A child for the test of this full name, such as `module::test`.
    #[track_caller]
    pub fn new(test: &str) -> Self {
        Self {
            test: test.to_owned(),
            place: Location::caller().to_string(),
            env: Vec::new(),
            address_space: None,
            cpu: None,
            seconds: 120,
        }
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), Some(value.to_owned())));
        self
    }

    /// Removes an inherited environment variable.
    pub fn env_remove(mut self, key: &str) -> Self {
        self.env.push((key.to_owned(), None));
        self
    }

    /// Limits the address space (RLIMIT_AS, as `ulimit -v`), in bytes.
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.address_space = Some(bytes);
        self
    }

    /// Starts the child on one CPU, which it may leave when it likes.
    pub fn pinned(mut self, cpu: usize) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// Kills the child after so many seconds, by default 120.
    pub fn timeout(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }

    /// See [`expect_abort`].
    ///
    /// # Panics
    /// When the child does anything else.
    pub fn expect_abort(self, line: &str, body: impl FnOnce()) {
        let Some(output) = self.run(body) else {
            return;
        };
        if output.status.signal() != Some(libc::SIGABRT) {
            fail("the child did not abort", &output);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !stderr.lines().any(|found| matches(line, found)) {
            fail(&format!("no line on stderr matches {line:?}"), &output);
        }
    }

    /// See [`run_ok`].
    ///
    /// # Panics
    /// When the body panics, aborts or was not found.
    pub fn expect_ok(self, body: impl FnOnce()) {
        let Some(output) = self.run(body) else {
            return;
        };
        if !output.status.success() || !has_line(&output, END) {
            fail("the child did not succeed", &output);
        }
    }

    /// The output of the child, in the parent only.
    fn run(self, body: impl FnOnce()) -> Option<Output> {
        if cfg!(miri) {
            return None;
        }
        let Ok(place) = env::var(MARK) else {
            return Some(self.spawn());
        };
        if place == self.place {
            eprintln!("{BEGIN}");
            body();
            eprintln!("{END}");
            process::exit(0);
        }
        None
    }

    fn spawn(&self) -> Output {
        let exe = env::current_exe().expect("the path of the test executable");
        let mut command = Command::new(exe);
        command.args(["--exact", &self.test, "--nocapture", "--include-ignored"]);
        command.args(["--test-threads=1"]).env(MARK, &self.place);
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let (address_space, cpu, seconds) = (self.address_space, self.cpu, self.seconds);
        // SAFETY: between fork and exec `limit` and `pin` only make system calls.
        unsafe { command.pre_exec(move || cpu.map_or(Ok(()), |cpu| pin(&[cpu])).and_then(|()| limit(address_space, seconds))) };
        let output = command.output().expect("start of the test executable");
        if !has_line(&output, BEGIN) {
            fail(&format!("no call at {} in a test {:?}", self.place, self.test), &output);
        }
        output
    }
}

/// Limits of the child; aborts must not leave core files behind.
fn limit(address_space: Option<u64>, seconds: u32) -> io::Result<()> {
    // SAFETY: takes a number and touches no memory.
    unsafe { libc::alarm(seconds) };
    set_limit(libc::RLIMIT_CORE, 0)?;
    address_space.map_or(Ok(()), |bytes| set_limit(libc::RLIMIT_AS, bytes))
}

fn set_limit(resource: libc::__rlimit_resource_t, bytes: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: `limit` outlives the call.
    match unsafe { libc::setrlimit(resource, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn has_line(output: &Output, line: &str) -> bool {
    String::from_utf8_lossy(&output.stderr).lines().any(|found| found == line)
}

/// Whether `line` is `pattern`, in which each `*` stands for any text.
fn matches(pattern: &str, line: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == line,
        Some((head, tail)) => line.strip_prefix(head).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[track_caller]
fn fail(what: &str, output: &Output) -> ! {
    let mut text = format!("{what}: {}", output.status);
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let _ = write!(text, "\n--- {name}\n{}", String::from_utf8_lossy(bytes));
    }
    panic!("{text}");
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_match_any_text() {
        assert!(matches("free of 0x* (size *)", "free of 0x7f10 (size 64)"));
        assert!(matches("*", ""));
        assert!(matches("exact", "exact"));
        assert!(!matches("exact", "exactly"));
        assert!(!matches("a*b", "axbx"));
    }
}
