//! The program that `index` and `index_system` share. Knows nothing of allocators.

mod build;
mod report;
mod words;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Indexes the directories on the command line. `allocator` is a name to print.
pub(crate) fn main(allocator: &str) -> ExitCode {
    match run(allocator) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("index: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(allocator: &str) -> io::Result<()> {
    let start = Instant::now();
    let mut files = Vec::new();
    for root in directories()? {
        list(&root, &mut files).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", root.display())))?;
    }
    // The order in which a directory lists its files is anything; a file's number must not be.
    files.sort();

    // More threads than processors is the normal case.
    let threads = std::thread::available_parallelism().map_or(4, |n| n.get().max(4));
    let (index, totals) = build::index(&files, threads);
    let built = start.elapsed();
    report::write(&mut io::stdout().lock(), &index, &totals)?;
    let peak = peak_rss().map_or_else(|| "unknown".into(), |kib| format!("{:.1} MiB", kib as f64 / 1024.0));
    eprintln!(
        "{allocator}: {threads} threads, built in {:.3} s, done in {:.3} s, peak RSS {peak}",
        built.as_secs_f64(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Those on the command line, or the sources in cargo's registry.
fn directories() -> io::Result<Vec<PathBuf>> {
    let given: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if !given.is_empty() {
        return Ok(given);
    }
    let home = || std::env::home_dir().map(|home| home.join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    let sources = cargo.map(|cargo| cargo.join("registry/src")).filter(|sources| sources.is_dir());
    let none = || io::Error::new(io::ErrorKind::NotFound, "no directory given, and cargo's registry not found");
    Ok(vec![sources.ok_or_else(none)?])
}

/// Every regular file under `directory`. Links are not followed.
fn list(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The most memory that this process ever had resident, in KiB. Linux only.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
