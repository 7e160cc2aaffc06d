//! The driver for one thread.

use crate::exec::{Exec, Report};
use crate::op::{Op, op_list};
use crate::shadow::Shadow;
use crate::subject::Subject;
use crate::violation::Violation;
use std::error::Error;
use std::{env, fmt, thread};

/// How [`run_with`] works.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Length of the table of slots.
    pub slots: usize,
    /// Verify everything each time so many operations are done; 0 is never.
    pub check_every: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { slots: 128, check_every: 64 }
    }
}

/// A failed run. `Display` and `Debug` print the facts and the operations up to
/// the failing one, as Rust.
#[derive(Clone)]
pub struct Failure {
    /// What was wrong.
    pub cause: Violation,
    /// The operations up to and including the one that showed it.
    pub ops: Vec<Op>,
    /// Whether it showed only after all operations, at the final clean-up.
    pub at_end: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ops.last() {
            Some(op) if !self.at_end => write!(f, "op {} {op:?}", self.ops.len() - 1)?,
            _ => write!(f, "at the end of {} ops", self.ops.len())?,
        }
        write!(f, ": {}\nlet ops = {};", self.cause, op_list(&self.ops))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Failure {}

/// Runs operations with the default configuration.
///
/// With `KMEM_TEST_TRACE` in the environment each operation is printed before
/// it is executed, which tells where a subject aborts.
///
/// # Errors
/// The first violation. Blocks live at that moment are leaked, since the
/// subject is known to be broken.
pub fn run(subject: &dyn Subject, ops: &[Op]) -> Result<Report, Failure> {
    run_with(subject, ops, &RunConfig::default())
}

/// Runs operations, verifies everything, and frees all blocks.
///
/// # Errors
/// See [`run`].
pub fn run_with(subject: &dyn Subject, ops: &[Op], config: &RunConfig) -> Result<Report, Failure> {
    let trace = env::var_os("KMEM_TEST_TRACE").is_some();
    let mut exec = Exec::new(subject, Shadow::new(), config.slots);
    for (at, &op) in ops.iter().enumerate() {
        if trace {
            eprintln!("{op:?},");
        }
        let due = config.check_every > 0 && (at + 1) % config.check_every == 0;
        step(&mut exec, op, due).map_err(|cause| Failure { cause, ops: ops[..=at].to_vec(), at_end: false })?;
    }
    let done = finish(&mut exec);
    done.map_err(|cause| Failure { cause, ops: ops.to_vec(), at_end: true })?;
    Ok(exec.report)
}

/// Runs operations with the default configuration.
///
/// # Panics
/// On a violation, with the operations to reproduce it. They are also printed
/// when the subject itself panics.
pub fn run_or_panic(subject: &dyn Subject, ops: &[Op]) -> Report {
    let _guard = PrintOnPanic(ops);
    match run(subject, ops) {
        Ok(report) => report,
        Err(failure) => {
            std::mem::forget(_guard);
            panic!("{failure}")
        }
    }
}

fn step(exec: &mut Exec<'_, Shadow>, op: Op, due: bool) -> Result<(), Violation> {
    exec.apply(op)?;
    let report = &mut exec.report;
    report.peak_blocks = report.peak_blocks.max(exec.oracle.live_blocks());
    report.peak_bytes = report.peak_bytes.max(exec.oracle.live_bytes());
    if due {
        exec.verify()?;
    }
    if due || op == Op::Check {
        exec.subject.check().map_err(Violation::Check)?;
    }
    Ok(())
}

fn finish(exec: &mut Exec<'_, Shadow>) -> Result<(), Violation> {
    exec.subject.check().map_err(Violation::Check)?;
    exec.verify()?;
    exec.free_all()?;
    exec.subject.check().map_err(Violation::Check)?;
    match exec.oracle.live_blocks() {
        0 => Ok(()),
        blocks => Err(Violation::Leaked { blocks }),
    }
}

/// Prints the operations when the subject panics.
struct PrintOnPanic<'a>(&'a [Op]);

impl Drop for PrintOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the subject panicked in\nlet ops = {};", op_list(self.0));
        }
    }
}
