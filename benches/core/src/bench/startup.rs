//! startup: a program that does next to nothing, started again and again.
//!
//! The time is that of all starts, each with its exec and its exit; the memory that ranks is what such a program has resident.

use std::ffi::OsStr;
use std::hint::black_box;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale, Settled};
use crate::crew::Kind;
use crate::params::Params;
use crate::{Result, rss};

/// The benchmark.
pub(crate) struct Startup;

/// First argument of a start that is the empty program.
const EMPTY: &str = "empty-program";
/// Second argument: it prints its resident bytes.
const REPORT: &str = "report";

impl Bench for Startup {
    fn name(&self) -> &'static str {
        "startup"
    }

    fn about(&self) -> &'static str {
        "starts a program that does next to nothing, many times"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let starts = scale.pick(2, 50, 200);
        Ok(vec![Row::new(format!("{starts} starts")).with("starts", starts).with("kind", Kind::Processes)])
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let program = std::env::current_exe()?;
        let mut plain = Command::new(&program);
        plain.arg(EMPTY).stdout(Stdio::null());
        let clock = Instant::now();
        for _ in 0..params.get("starts")? {
            succeeded(plain.status()?)?;
        }
        let time = clock.elapsed();
        let output = Command::new(&program).args([EMPTY, REPORT]).output()?;
        succeeded(output.status)?;
        let rss = String::from_utf8_lossy(&output.stdout).trim().parse()?;
        Ok(Outcome { time, settled: Some(Settled { rss, live: None }) })
    }
}

fn succeeded(status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { Err(format!("the empty program: {status}").into()) }
}

/// Whether this process is the empty program. If so it has done what it does: some strings, a vector of them, a box.
pub(crate) fn was_empty_program() -> bool {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() != Some(OsStr::new(EMPTY)) {
        return false;
    }
    let words: Vec<String> = (0..20).map(|number| format!("word number {number}")).collect();
    black_box(Box::new(black_box(words)));
    if args.next().as_deref() == Some(OsStr::new(REPORT)) {
        println!("{}", rss::resident());
    }
    true
}
