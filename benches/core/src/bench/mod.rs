//! The benchmarks: one file each, and one table that lists them.

mod bulk;
mod churn;
pub(crate) mod hackbench;
mod index;
mod keyvalue;
mod large;
mod larson;
pub(crate) mod malloc_test;
pub(crate) mod queues;
mod realloc;
pub(crate) mod request_response;
mod scratch;
mod spike;
mod startup;
mod thrash;
mod xmalloc;

use std::time::Duration;

use clap::{ArgMatches, Command};

use crate::Result;
use crate::params::Params;

/// Every benchmark, in the order of `all`. A new one is a file and a line here.
pub(crate) const BENCHES: &[&dyn Bench] = &[
    &hackbench::Hackbench,
    &malloc_test::MallocTest,
    &churn::Churn,
    &larson::Larson,
    &xmalloc::Xmalloc,
    &scratch::Scratch,
    &thrash::Thrash,
    &bulk::Bulk,
    &large::Large,
    &realloc::Realloc,
    &spike::Spike,
    &index::Index,
    &keyvalue::KeyValue,
    &startup::Startup,
];

pub(crate) use startup::was_empty_program;

/// Benchmarks of kmem against itself, which have reports of their own.
pub(crate) const ALONE: &[&dyn Bench] =
    &[&queues::Queues, &request_response::RequestResponse, &crate::zpool::Kept, &crate::footprint::Boot];

/// One benchmark: a set of rows, each run by every contestant in a process of its own.
pub(crate) trait Bench: Sync {
    /// Name of the sub-command.
    fn name(&self) -> &'static str;

    /// What it does, in one line.
    fn about(&self) -> &'static str;

    /// Adds the benchmark's own flags.
    fn options(&self, command: Command) -> Command {
        command
    }

    /// The rows to run.
    fn rows(&self, flags: &ArgMatches, scale: Scale) -> Result<Vec<Row>>;

    /// Runs one row in this process.
    fn run(&self, params: &Params) -> Result<Outcome>;
}

/// What a row is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Time of the part that counts.
    pub(crate) time: Duration,
    /// In rows that ask what a process keeps when its work is done: stands for the peak in the ranking.
    pub(crate) settled: Option<Settled>,
}

/// Memory some time after the work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    /// Resident bytes of the process.
    pub(crate) rss: u64,
    /// Bytes that the program still holds, as it asked for them, if they are enough to be compared with.
    pub(crate) live: Option<u64>,
}

impl From<Duration> for Outcome {
    fn from(time: Duration) -> Self {
        Self { time, settled: None }
    }
}

/// One line of work: a name for the table and what the child needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) params: Params,
}

impl Row {
    /// A row without parameters yet.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), params: Params::default() }
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.params = self.params.with(name, value);
        self
    }
}

/// How much work a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As good as none: proves that everything runs.
    Tiny,
    Quick,
    Full,
}

impl Scale {
    /// The figure for this scale.
    pub(crate) fn pick<T>(self, tiny: T, quick: T, full: T) -> T {
        match self {
            Self::Tiny => tiny,
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// Finds a benchmark by its name.
pub(crate) fn find(name: &str) -> Option<&'static dyn Bench> {
    BENCHES.iter().chain(ALONE).copied().find(|bench| bench.name() == name)
}

/// The flags of a benchmark when none is given.
pub(crate) fn default_flags(bench: &dyn Bench) -> ArgMatches {
    let no_flags: [&str; 0] = [];
    bench.options(Command::new(bench.name())).no_binary_name(true).get_matches_from(no_flags)
}

/// "1 thread", "2 threads".
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_every_benchmark_runs_on_threads() {
        for bench in BENCHES.iter().chain(ALONE) {
            for row in bench.rows(&default_flags(*bench), Scale::Tiny).unwrap() {
                // fork() belongs in a process with one thread: tests/cli.rs runs those rows.
                if row.params.get::<String>("kind").is_ok_and(|kind| kind == "processes") {
                    continue;
                }
                bench.run(&row.params).unwrap_or_else(|error| panic!("{} {}: {error}", bench.name(), row.name));
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for bench in BENCHES.iter().chain(ALONE) {
            assert_eq!(find(bench.name()).unwrap().about(), bench.about());
            let rows = bench.rows(&default_flags(*bench), Scale::Full).unwrap();
            let names: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
            assert_eq!(names.len(), rows.len(), "{}", bench.name());
        }
        assert!(find("no-such-benchmark").is_none());
    }

    #[test]
    fn counts_agree_with_their_nouns() {
        assert_eq!(count(1, "group"), "1 group");
        assert_eq!(count(10, "group"), "10 groups");
    }
}
