//! The parent's side: one child per run, contestants interleaved, medians of what the children report.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::bench::{Bench, Outcome, Row};
use crate::contestant::{Contestant, Setting};
use crate::params::Params;
use crate::{Error, Result, rss, stats, switch};

/// Name of the hidden sub-command that a child runs.
pub(crate) const CHILD: &str = "child";

/// A child that takes longer than this hangs.
const CHILD_LIMIT: Duration = Duration::from_secs(600);

/// What a child reports on its standard output, as one line of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) peak_rss_bytes: u64,
    /// Of the whole child, its start included.
    pub(crate) page_faults: u64,
    /// Where the row has them: see [`Settled`](crate::bench::Settled).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settled_rss_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) live_bytes: Option<u64>,
}

impl Sample {
    /// Of a process that has just done its work.
    fn taken(outcome: &Outcome) -> Self {
        Self {
            seconds: outcome.time.as_secs_f64(),
            peak_rss_bytes: rss::peak(),
            page_faults: rss::page_faults(),
            settled_rss_bytes: outcome.settled.map(|settled| settled.rss),
            live_bytes: outcome.settled.and_then(|settled| settled.live),
        }
    }
}

/// Runs of one contestant on one row.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) alloc: &'static str,
    pub(crate) samples: Vec<Sample>,
    /// Why it dropped out, if it did; the samples then count for nothing.
    pub(crate) failure: Option<String>,
}

impl Entry {
    /// Median seconds.
    pub(crate) fn seconds(&self) -> Option<f64> {
        stats::median(&self.valid(|sample| sample.seconds))
    }

    /// Median peak in bytes.
    pub(crate) fn peak_rss(&self) -> Option<f64> {
        stats::median(&self.valid(|sample| sample.peak_rss_bytes as f64))
    }

    /// Median number of page faults.
    pub(crate) fn page_faults(&self) -> Option<f64> {
        stats::median(&self.valid(|sample| sample.page_faults as f64))
    }

    /// Median bytes resident after the work, in rows that wait for them.
    pub(crate) fn settled_rss(&self) -> Option<f64> {
        self.valid_some(|sample| sample.settled_rss_bytes)
    }

    /// Median bytes that the program held then.
    pub(crate) fn live(&self) -> Option<f64> {
        self.valid_some(|sample| sample.live_bytes)
    }

    /// The memory figure that ranks: what stays, in rows that wait for it, or the peak.
    pub(crate) fn memory(&self) -> Option<f64> {
        self.settled_rss().or_else(|| self.peak_rss())
    }

    /// Spread of the seconds.
    pub(crate) fn spread(&self) -> Option<f64> {
        stats::spread(&self.valid(|sample| sample.seconds))
    }

    fn valid_some(&self, value: impl Fn(&Sample) -> Option<u64>) -> Option<f64> {
        let all: Option<Vec<_>> = self.samples.iter().map(|sample| value(sample).map(|bytes| bytes as f64)).collect();
        all.filter(|_| self.failure.is_none()).and_then(|all| stats::median(&all))
    }

    fn valid(&self, value: impl Fn(&Sample) -> f64) -> Vec<f64> {
        if self.failure.is_some() { Vec::new() } else { self.samples.iter().map(value).collect() }
    }
}

/// All contestants on one row.
#[derive(Debug)]
pub(crate) struct RowResult {
    pub(crate) bench: &'static str,
    pub(crate) row: String,
    pub(crate) entries: Vec<Entry>,
}

/// A row of a benchmark, waiting to be run.
pub(crate) struct Task {
    pub(crate) bench: &'static dyn Bench,
    pub(crate) row: Row,
}

/// Who runs, how often, and in which environment.
pub(crate) struct Harness<'a> {
    pub(crate) contestants: &'a [&'static Contestant],
    /// For every child.
    pub(crate) common: &'static [Setting],
    pub(crate) runs: usize,
}

impl Harness<'_> {
    /// Runs all tasks and hands each finished row to `show`.
    pub(crate) fn measure(&self, tasks: &[Task], show: impl Fn(&RowResult)) -> Vec<RowResult> {
        let bar = progress(tasks.len() * self.contestants.len() * self.runs);
        let row = |task| {
            let result = self.measure_row(task, &bar);
            bar.suspend(|| show(&result));
            result
        };
        let results = tasks.iter().map(row).collect();
        bar.finish_and_clear();
        results
    }

    fn measure_row(&self, task: &Task, bar: &ProgressBar) -> RowResult {
        let entry = |contestant: &&Contestant| Entry { alloc: contestant.name, samples: Vec::new(), failure: None };
        let mut entries: Vec<Entry> = self.contestants.iter().map(entry).collect();
        for _ in 0..self.runs {
            for (contestant, entry) in self.contestants.iter().zip(&mut entries) {
                bar.set_message(format!("{} / {}: {}", task.bench.name(), task.row.name, contestant.name));
                if entry.failure.is_none() {
                    match self.run_child(contestant, task) {
                        Ok(sample) => entry.samples.push(sample),
                        Err(error) => entry.failure = Some(error.to_string()),
                    }
                }
                bar.inc(1);
            }
        }
        RowResult { bench: task.bench.name(), row: task.row.name.clone(), entries }
    }

    fn run_child(&self, contestant: &Contestant, task: &Task) -> Result<Sample> {
        let mut args = vec![task.bench.name().to_owned()];
        args.extend(task.row.params.to_args());
        self.start_child(contestant, args)
    }

    /// Peak of a child of the first contestant that does nothing: a part of every other child's peak.
    pub(crate) fn idle_peak(&self) -> Result<u64> {
        let first = self.contestants.first().ok_or("no contestants")?;
        self.start_child(first, Vec::new()).map(|sample| sample.peak_rss_bytes)
    }

    fn start_child(&self, contestant: &Contestant, args: Vec<String>) -> Result<Sample> {
        let allocator = OsStr::from_bytes(contestant.allocator.to_bytes());
        let output = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .args(args)
            .env(OsStr::from_bytes(switch::VARIABLE.to_bytes()), allocator)
            .envs(self.common.iter().chain(contestant.env).copied())
            .stdin(Stdio::null())
            .output()?;
        read_sample(&output)
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(steps: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} (left {eta}) {msg}");
    ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn read_sample(output: &Output) -> Result<Sample> {
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, complaint.lines().next_back().unwrap_or("no message")).into());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Error::from(format!("unreadable report: {error}")))
}

/// The child's side: runs one row, or nothing, on the allocator that the environment names and prints the report.
pub(crate) fn run_as_child(row: Option<(&dyn Bench, Params)>) -> Result<()> {
    // SAFETY: plain system call. The alarm's default action ends a child that hangs.
    unsafe { libc::alarm(CHILD_LIMIT.as_secs() as libc::c_uint) };
    let outcome = row.map_or(Ok(Duration::ZERO.into()), |(bench, params)| bench.run(&params))?;
    println!("{}", serde_json::to_string(&Sample::taken(&outcome))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn sample(seconds: f64) -> Sample {
        Sample { seconds, peak_rss_bytes: 1024, page_faults: 5, settled_rss_bytes: None, live_bytes: None }
    }

    fn entry(seconds: &[f64], failure: Option<&str>) -> Entry {
        let samples = seconds.iter().map(|&seconds| sample(seconds)).collect();
        Entry { alloc: "kmem", samples, failure: failure.map(str::to_owned) }
    }

    #[test]
    fn an_entry_reports_medians() {
        let entry = entry(&[3.0, 1.0, 2.0], None);
        assert_eq!((entry.seconds(), entry.peak_rss()), (Some(2.0), Some(1024.0)));
    }

    #[test]
    fn settled_memory_ranks_before_the_peak() {
        let mut entry = entry(&[1.0, 1.0, 1.0], None);
        assert_eq!((entry.settled_rss(), entry.memory()), (None, Some(1024.0)));
        for (sample, settled) in entry.samples.iter_mut().zip([300, 100, 200]) {
            sample.settled_rss_bytes = Some(settled);
        }
        assert_eq!((entry.settled_rss(), entry.memory(), entry.live()), (Some(200.0), Some(200.0), None));
        entry.failure = Some("signal 11".to_owned());
        assert_eq!(entry.memory(), None);
    }

    #[test]
    fn a_failed_entry_has_no_figures() {
        assert_eq!(entry(&[1.0], Some("signal 11")).seconds(), None);
    }

    #[test]
    fn a_report_is_read_and_a_crash_is_told() {
        let output = |status, stdout: &str, stderr: &str| Output {
            status: ExitStatus::from_raw(status),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let sample = read_sample(&output(0, "{\"seconds\":0.5,\"peak_rss_bytes\":7,\"page_faults\":3}\n", "")).unwrap();
        assert_eq!((sample.seconds, sample.peak_rss_bytes, sample.settled_rss_bytes), (0.5, 7, None));
        let error = read_sample(&output(libc::SIGABRT, "", "double free\n")).unwrap_err().to_string();
        assert!(error.contains("double free") && error.contains("signal: 6"), "{error}");
        assert!(read_sample(&output(0, "nonsense", "")).is_err());
    }
}
