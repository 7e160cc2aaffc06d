//! `kmem run`: a program with the library preloaded.

use crate::library;
use clap::Args;
use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::{env, fs};

/// What `kmem run` is told.
#[derive(Args)]
pub(crate) struct Run {
    /// Knobs, as in KMEM_CONF: name:value,... They are added to those of the environment, and have the last word.
    #[arg(long, value_name = "KNOBS")]
    conf: Option<String>,
    /// When the program has ended, prints what its processes held: peak, live and retained memory, and the table of caches.
    #[arg(long)]
    stats: bool,
    /// This library instead of the first that is found.
    #[arg(long, env = library::VARIABLE, value_name = "PATH")]
    library: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Joins what a variable holds with something more; `None` has nothing.
fn joined(parts: [Option<OsString>; 2], separator: &str) -> Option<OsString> {
    let parts: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(OsStr::new(separator)))
}

impl Run {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let library = library::find(self.library.as_deref())?;
        let mut program = Command::new(&self.program[0]);
        program.args(&self.program[1..]);
        if let Some(preload) = joined([Some(library.into()), env::var_os("LD_PRELOAD")], ":") {
            program.env("LD_PRELOAD", preload);
        }
        if let Some(knobs) = joined([env::var_os("KMEM_CONF"), self.conf.map(OsString::from)], ",") {
            program.env("KMEM_CONF", knobs);
        }
        if !self.stats {
            // Comes back only if it fails.
            return Ok(not_started(&self.program[0], &program.exec()));
        }
        let file = tempfile::NamedTempFile::new()?;
        let mut child = match program.env("KMEM_STATS", file.path()).spawn() {
            Ok(child) => child,
            Err(error) => return Ok(not_started(&self.program[0], &error)),
        };
        let status = child.wait()?;
        eprint!("{}", summary(&fs::read_to_string(file.path())?, child.id()));
        Ok(code(status))
    }
}

/// Says why `program` did not start; the exit status is that of a shell, env or nohup.
fn not_started(program: &OsStr, error: &Error) -> ExitCode {
    eprintln!("kmem: {}: {error}", Path::new(program).display());
    ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

/// The exit status, as a shell has it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(code as u8)
}

/// Lines of a process's summary in front of the table of caches.
const SHORT: usize = 3;

/// What is printed of the processes' summaries: everything of process `main`, and of the others what they held.
fn summary(text: &str, main: u32) -> String {
    let mark = format!("[{main}]");
    let (own, others): (Vec<_>, Vec<_>) =
        text.split_inclusive("\n\n").partition(|process| process.lines().next().is_some_and(|head| head.ends_with(&mark)));
    let mut out = String::new();
    for process in others {
        process.lines().take(SHORT).for_each(|line| out += &format!("{line}\n"));
    }
    out += &own.concat();
    if own.is_empty() {
        out += "kmem: the program left no summary: it is statically linked, or a signal or _exit ended it\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_other_processes_the_tables_are_left_out() {
        let text = "== sh [7]\npeak\nretained\nslabinfo\nrow\n\n== main [17]\npeak\nretained\nslabinfo\nrow\n\n";
        assert_eq!(summary(text, 17), "== sh [7]\npeak\nretained\n== main [17]\npeak\nretained\nslabinfo\nrow\n\n");
        assert!(summary("", 17).contains("no summary"));
        assert!(summary(text, 1).contains("no summary"));
    }

    #[test]
    fn what_was_there_is_kept() {
        let some = |text: &str| Some(OsString::from(text));
        assert_eq!(joined([some("a"), some("b")], ":"), some("a:b"));
        assert_eq!(joined([some("a"), None], ":"), some("a"));
        assert_eq!(joined([some(""), some("b")], ","), some("b"));
        assert_eq!(joined([None, None], ","), None);
    }
}
