//! `count` in a build that cannot count.

use clap::{ArgMatches, Command};

use crate::Result;
use crate::bench::Scale;

/// Name of the sub-command.
pub(crate) const NAME: &str = "count";

pub(crate) fn command() -> Command {
    Command::new(NAME).about("counts slow paths, locks and shared writes; needs a build with the feature `count`")
}

pub(crate) fn run(_: &ArgMatches, _: Scale) -> Result<String> {
    Err("this build does not count: cargo run --release -p kmem-bench-core --features count -- count".into())
}

/// The program's allocator was called.
#[inline(always)]
pub fn operation() {}
