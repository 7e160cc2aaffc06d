//! The command line: one sub-command per benchmark, `all`, and the hidden one that children run.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::bench::{self, BENCHES, Bench, Scale, queues};
use crate::contestant::{self, Contestant, Program};
use crate::harness::{self, Harness, RowResult, Task};
use crate::params::Params;
use crate::session::{Facts, Session, merge};
use crate::{Error, Result, count, footprint, machine, page, report, slab, versus, zpool};

const ALL: &str = "all";
const REPORT: &str = "report";

#[derive(Args)]
struct Common {
    /// Contestants, in the order in which they take turns [default: all but kmem-locked]
    #[arg(long, global = true, value_delimiter = ',', value_name = "A,B")]
    alloc: Vec<String>,
    /// Runs per contestant and row; the median counts
    #[arg(long, global = true, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Less work per run: a first impression
    #[arg(long, global = true)]
    quick: bool,
    /// Almost no work: for tests
    #[arg(long, global = true, hide = true)]
    tiny: bool,
    /// Writes the medians as an array of {bench, row, alloc, seconds, peak_rss_bytes, page_faults} and, in some rows,
    /// settled_rss_bytes and live_bytes
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes every figure of every run, with machine, versions and date: what `report` reads
    #[arg(long, global = true, value_name = "FILE")]
    save: Option<PathBuf>,
}

#[derive(Args)]
struct Page {
    /// Runs saved by `--save`; where two have the same row, the later file counts
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    from: Vec<PathBuf>,
    /// The page; charts go into a folder `charts` beside it
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    out: PathBuf,
}

impl Common {
    fn scale(&self) -> Scale {
        match (self.tiny, self.quick) {
            (true, _) => Scale::Tiny,
            (_, true) => Scale::Quick,
            _ => Scale::Full,
        }
    }

    fn scale_name(&self) -> &'static str {
        self.scale().pick("tiny: the figures mean nothing", "quick", "full")
    }
}

/// The whole command line.
pub(crate) fn command() -> Command {
    let command = Command::new("kmem-bench")
        .about("Runs kmem beside its peers, each contestant in processes of its own")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(BENCHES.iter().map(|bench| bench.options(Command::new(bench.name()).about(bench.about()))))
        .subcommand(Command::new(ALL).about("every benchmark with its default rows"))
        .subcommand(Page::augment_args(Command::new(REPORT).about("writes the page of results and its charts from saved runs")))
        .subcommand(Command::new(queues::Queues.name()).about(queues::Queues.about()))
        .subcommand(slab::command())
        .subcommand(footprint::command())
        .subcommand(Command::new(zpool::NAME).about(zpool::ABOUT))
        .subcommand(count::command())
        .subcommand(child_command());
    Common::augment_args(command)
}

fn child_command() -> Command {
    Command::new(harness::CHILD).hide(true).arg(Arg::new("bench")).arg(Arg::new("params").num_args(0..))
}

/// Does what the command line asks for.
pub(crate) fn run(program: &Program, matches: &ArgMatches) -> Result<ExitCode> {
    let (name, flags) = matches.subcommand().ok_or("no sub-command")?;
    if name == harness::CHILD {
        return run_child(flags);
    }
    if name == REPORT {
        return write_page(&Page::from_arg_matches(flags)?);
    }
    let common = Common::from_arg_matches(flags)?;
    if name == count::NAME {
        print!("{}", count::run(flags, common.scale())?);
        return Ok(ExitCode::SUCCESS);
    }
    if name == slab::NAME {
        let contestants = program.select(&common.alloc)?;
        print!("{}", slab::run(program, &contestants, flags, common.scale(), common.runs)?);
        return Ok(ExitCode::SUCCESS);
    }
    if name == footprint::NAME {
        print!("{}", footprint::run(program, flags, common.scale(), common.runs)?);
        return Ok(ExitCode::SUCCESS);
    }
    if name == queues::Queues.name() {
        print!("{}", versus::run(common.scale(), common.runs)?);
        return Ok(ExitCode::SUCCESS);
    }
    if name == zpool::NAME {
        print!("{}", zpool::run(&program.select(&common.alloc)?, common.scale(), common.runs)?);
        return Ok(ExitCode::SUCCESS);
    }
    compete(program, &common, &tasks(name, flags, common.scale())?)
}

fn run_child(flags: &ArgMatches) -> Result<ExitCode> {
    let params = Params::from_args(flags.get_many::<String>("params").unwrap_or_default())?;
    let bench = flags.get_one::<String>("bench").map(|name| bench_named(name)).transpose()?;
    harness::run_as_child(bench.map(|bench| (bench, params)))?;
    Ok(ExitCode::SUCCESS)
}

fn bench_named(name: &str) -> Result<&'static dyn Bench> {
    bench::find(name).ok_or_else(|| format!("no benchmark '{name}'").into())
}

fn tasks(name: &str, flags: &ArgMatches, scale: Scale) -> Result<Vec<Task>> {
    if name == ALL {
        let each = BENCHES.iter().map(|bench| bench_tasks(*bench, &bench::default_flags(*bench), scale));
        return Ok(each.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect());
    }
    bench_tasks(bench_named(name)?, flags, scale)
}

fn bench_tasks(bench: &'static dyn Bench, flags: &ArgMatches, scale: Scale) -> Result<Vec<Task>> {
    Ok(bench.rows(flags, scale)?.into_iter().map(|row| Task { bench, row }).collect())
}

fn compete(program: &Program, common: &Common, tasks: &[Task]) -> Result<ExitCode> {
    // SAFETY: plain system call. A reader that has seen enough (`| head`) ends the program without a panic.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let contestants = program.select(&common.alloc)?;
    let harness = Harness { contestants: &contestants, common: program.common, runs: common.runs as usize };
    // Opened first: a path that cannot be written must not cost a whole run.
    let create = |path: &Option<PathBuf>| path.as_deref().map(create).transpose();
    let (json, save) = (create(&common.json)?, create(&common.save)?);
    let mut facts = facts(&contestants, &harness, common)?;
    println!("{}", header(&facts));
    let results = harness.measure(tasks, |row| print!("{}", report::table(row)));
    print!("{}", report::summary(&results));
    if let Some(file) = json {
        report::write_json(&results, BufWriter::new(file))?;
    }
    let failed = any_failed(&results);
    if let Some(file) = save {
        facts.date = machine::date();
        Session::new(facts, results).save(file)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|error| explain(path, error))
}

fn explain(path: &Path, error: std::io::Error) -> Error {
    format!("{}: {error}", path.display()).into()
}

fn write_page(files: &Page) -> Result<ExitCode> {
    let sessions = files.from.iter().map(|path| Session::load(path)).collect::<Result<Vec<_>>>()?;
    let facts: Vec<_> = sessions.iter().map(|session| session.facts.clone()).collect();
    let rows = merge(sessions);
    let folder = files.out.with_file_name(page::CHARTS);
    fs::create_dir_all(&folder).map_err(|error| explain(&folder, error))?;
    let charts = page::charts(&rows)?.into_iter().map(|(name, svg)| (folder.join(name), svg));
    for (path, text) in charts.chain([(files.out.clone(), page::page(&facts, &rows))]) {
        fs::write(&path, text).map_err(|error| explain(&path, error))?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn facts(contestants: &[&Contestant], harness: &Harness<'_>, common: &Common) -> Result<Facts> {
    Ok(Facts {
        date: machine::date(),
        machine: machine::facts(),
        cpus: machine::cpus(),
        versions: contestant::versions(contestants),
        settings: contestant::settings(contestants),
        runs: harness.runs,
        scale: common.scale_name().to_owned(),
        idle_rss_bytes: harness.idle_peak()?,
    })
}

fn header(facts: &Facts) -> String {
    let idle = facts.idle_rss_bytes as f64 / report::MIB;
    let lines = [
        ("machine", facts.machine.clone()),
        ("versions", facts.versions.clone()),
        ("settings", facts.settings.clone()),
        ("runs", format!("{} per contestant and row, in turns, each in a process of its own (idle: {idle:.1} MiB)", facts.runs)),
        ("columns", report::LEGEND.to_owned()),
    ];
    lines.map(|(name, text)| format!("{name:<10}{text}")).join("\n")
}

fn any_failed(results: &[RowResult]) -> bool {
    results.iter().flat_map(|result| &result.entries).any(|entry| entry.failure.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> std::result::Result<(String, Common), clap::Error> {
        let matches = command().try_get_matches_from([&["kmem-bench"], args].concat())?;
        let (name, flags) = matches.subcommand().unwrap();
        Ok((name.to_owned(), Common::from_arg_matches(flags)?))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn common_flags_stand_before_or_behind_the_name() {
        for args in [["--runs", "5", "--alloc", "kmem,glibc", "churn"], ["churn", "--runs", "5", "--alloc", "kmem,glibc"]] {
            let (name, common) = parse(&args).unwrap();
            assert_eq!((name.as_str(), common.runs), ("churn", 5));
            assert_eq!(common.alloc, ["kmem", "glibc"]);
        }
    }

    #[test]
    fn every_benchmark_and_all_are_sub_commands() {
        for name in BENCHES.iter().map(|bench| bench.name()).chain([ALL]) {
            assert_eq!(parse(&[name, "--quick"]).unwrap().1.scale(), Scale::Quick);
        }
        assert!(parse(&["hackbanch"]).is_err());
        assert!(parse(&["churn", "--runs", "0"]).is_err());
    }

    #[test]
    fn all_has_the_rows_of_every_benchmark() {
        let matches = command().get_matches_from(["kmem-bench", ALL]);
        let tasks = tasks(ALL, &matches, Scale::Full).unwrap();
        for bench in BENCHES {
            assert!(tasks.iter().any(|task| task.bench.name() == bench.name()));
        }
    }
}
