//! `slab`: every figure that kmem-slab is judged by, as tables in Markdown: `docs/slab.md` is made of them.

mod colours;
mod contest;
mod fit;
mod loads;
mod malloc_test;
pub(crate) mod markdown;
mod messages;
mod shapes;
mod shrink;

use clap::{Arg, ArgMatches, Command, ValueEnum, value_parser};

use crate::bench::Scale;
use crate::contestant::{Contestant, Program};
use crate::{Result, machine};

/// Name of the sub-command.
pub(crate) const NAME: &str = "slab";

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Metadata, waste, placement and colours by size
    Shapes,
    /// The same field of one object per slab, with colours and without
    Colours,
    /// Slow paths and locks per operation
    Loads,
    /// What stays resident after a shrink
    Shrink,
    /// One pair of alloc and free
    Pair,
    /// Threads against processes, and the time by threads
    MallocTest,
    /// Requests and responses over 1 to 12 times the CPUs
    Rr,
    /// Messages through channels, with all contestants
    Hackbench,
}

pub(crate) fn command() -> Command {
    Command::new(NAME)
        .about("kmem over slabs: every figure that it is judged by")
        .arg(Arg::new("parts").num_args(0..).value_name("PART").value_parser(value_parser!(Part)).help("Parts [default: all]"))
}

/// What the report needs to know.
struct Run<'a> {
    program: &'a Program,
    /// In the part that is for all.
    contestants: &'a [&'static Contestant],
    scale: Scale,
    runs: usize,
}

/// Measures and returns the tables.
pub(crate) fn run(
    program: &Program,
    contestants: &[&'static Contestant],
    flags: &ArgMatches,
    scale: Scale,
    runs: u32,
) -> Result<String> {
    let run = Run { program, contestants, scale, runs: runs as usize };
    let parts: Vec<Part> = flags.get_many("parts").unwrap_or_default().copied().collect();
    let parts = if parts.is_empty() { Part::value_variants() } else { &parts };
    let tables = parts.iter().map(|part| part.measure(&run)).collect::<Result<Vec<_>>>()?;
    Ok(format!("{}, {}; medians of {runs} runs in turns\n\n{}", machine::date(), machine::facts(), tables.join("\n")))
}

impl Part {
    fn measure(self, run: &Run<'_>) -> Result<String> {
        match self {
            Self::Shapes => Ok(shapes::report()),
            Self::Colours => colours::report(run),
            Self::Loads => loads::report(run.scale),
            Self::Shrink => shrink::report(run.scale),
            Self::Pair => malloc_test::pair(run),
            Self::MallocTest => malloc_test::scaling(run),
            Self::Rr => messages::sweep(run),
            Self::Hackbench => messages::hackbench(run),
        }
    }
}

/// Whether a target is reached.
pub(crate) fn verdict(reached: bool) -> String {
    if reached { "reached" } else { "MISSED" }.to_owned()
}
