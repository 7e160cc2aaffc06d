//! `footprint`: every figure that kmem-slob is judged by, beside the allocators for small systems, as tables in Markdown: `docs/slob.md` is
//! made of them. What it adds to a program's code is the script `tools/size`.

mod arena;
mod boot;
mod drift;
mod efficiency;
mod latency;
mod peers;
mod speed;
mod trace;

use clap::{Arg, ArgMatches, Command, ValueEnum, value_parser};

use crate::bench::Scale;
use crate::contestant::Program;
use crate::{Result, machine};
pub(crate) use boot::Boot;

/// Name of the sub-command.
pub(crate) const NAME: &str = "footprint";

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Share of a heap in use at the first refusal, after talc
    Efficiency,
    /// The smallest heap in which a recorded program runs
    Trace,
    /// What a process takes for a mix as of a system's start, and what it keeps
    Boot,
    /// Pages looked into and time of an allocation among pages half full
    Latency,
    /// Whether a heap grows that should not
    Drift,
    /// Random actions per second
    Speed,
}

pub(crate) fn command() -> Command {
    Command::new(NAME)
        .about("kmem over slob and its peers for small systems: density, bounded work, speed")
        .arg(Arg::new("parts").num_args(0..).value_name("PART").value_parser(value_parser!(Part)).help("Parts [default: all]"))
}

/// What the report needs to know.
struct Run<'a> {
    program: &'a Program,
    scale: Scale,
    runs: usize,
}

/// Measures and returns the tables.
pub(crate) fn run(program: &Program, flags: &ArgMatches, scale: Scale, runs: u32) -> Result<String> {
    let run = Run { program, scale, runs: runs as usize };
    let parts: Vec<Part> = flags.get_many("parts").unwrap_or_default().copied().collect();
    let parts = if parts.is_empty() { Part::value_variants() } else { &parts };
    let tables = parts.iter().map(|part| part.measure(&run)).collect::<Result<Vec<_>>>()?;
    Ok(format!("{}, {}\n\n{}", machine::date(), machine::facts(), tables.join("\n")))
}

impl Part {
    fn measure(self, run: &Run<'_>) -> Result<String> {
        match self {
            Self::Efficiency => Ok(efficiency::report(run.scale)),
            Self::Trace => trace::report(),
            Self::Boot => boot::report(run),
            Self::Latency => Ok(latency::report(run.scale)),
            Self::Drift => Ok(drift::report(run.scale)),
            Self::Speed => Ok(speed::report(run)),
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}", share * 100.0)
}

/// By how much the best of the others is better, in points of a hundred.
fn behind(own: f64, others: impl Iterator<Item = f64>) -> f64 {
    others.fold(f64::MIN, f64::max) - own
}
