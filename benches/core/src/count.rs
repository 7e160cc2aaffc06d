//! `count`: what operations cost beyond their own CPU. Each load runs on kmem in two processes of its own: in one every shared write is
//! counted, which takes time; in the other only locks are, so that they are held about as long as in an ordinary build.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command as Process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Arg, ArgMatches, Command};
use kmem::count::{self, Locks, RANKS};
use serde::{Deserialize, Serialize};

use crate::bench::{self, BENCHES, Bench, Row, Scale, queues::Queues};
use crate::params::Params;
use crate::{Result, harness, switch};

/// Name of the sub-command.
pub(crate) const NAME: &str = "count";
/// Lines of source that are shown per load.
const SHOWN: usize = 10;
/// Names of the two kinds of processes.
const WRITES: &str = "writes";
const TIMES: &str = "times";

/// Calls of the program's allocator, one counter per CPU on lines of their own.
static OPERATIONS: [Padded; 64] = [const { Padded(AtomicU64::new(0)) }; 64];

#[repr(align(128))]
struct Padded(AtomicU64);

/// The program's allocator was called.
#[inline]
pub fn operation() {
    // SAFETY: takes nothing.
    let cpu = unsafe { libc::sched_getcpu() }.unsigned_abs() as usize;
    OPERATIONS[cpu % OPERATIONS.len()].0.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn command() -> Command {
    let load = |name: &'static str| Arg::new(name).hide(true);
    Command::new(NAME)
        .about("counts slow paths, locks and shared writes per operation")
        .arg(load("kind"))
        .arg(load("bench"))
        .arg(load("params").num_args(0..))
}

/// What one process counted.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    seconds: f64,
    operations: u64,
    /// Of all caches together.
    slow: BTreeMap<String, u64>,
    locks: BTreeMap<String, Lock>,
    /// By file and line.
    sites: BTreeMap<String, Site>,
}

/// The locks of one rank.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Lock {
    takes: u64,
    waits: u64,
    busy: u64,
    /// In all holds that were not interrupted.
    nanoseconds: f64,
    long: u64,
}

/// A line of source that writes to shared memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Site {
    writes: u64,
    moved: u64,
}

/// Counts every load and returns the tables; in a child, counts one and returns JSON.
pub(crate) fn run(flags: &ArgMatches, scale: Scale) -> Result<String> {
    if let Some(kind) = flags.get_one::<String>("kind") {
        let name = flags.get_one::<String>("bench").ok_or("no benchmark")?;
        let bench = bench::find(name).ok_or_else(|| format!("no benchmark '{name}'"))?;
        let params = Params::from_args(flags.get_many::<String>("params").unwrap_or_default())?;
        return Ok(serde_json::to_string(&measure(kind == WRITES, bench, &params)?)?);
    }
    let mut text = String::from(LEGEND);
    for (bench, row) in loads(scale)? {
        let of = |kind| child(kind, bench, &row);
        text += &table(&format!("{}: {}", bench.name(), row.name), &of(WRITES)?, &of(TIMES)?);
    }
    Ok(text)
}

const LEGEND: &str = "\
Per 1000 operations; an operation is a call of alloc, dealloc or realloc, preparation included. waits: takes that had to wait. busy: tries
that found the lock held. held: nanoseconds per take, without holds of more than 32768 ticks (long). writes: by atomic instructions and
stores to what threads share; moved: those of a cache line that another CPU had written last.
";

/// Loads without processes, whose counts would be lost, and without hackbench's sockets and pipes.
fn loads(scale: Scale) -> Result<Vec<(&'static dyn Bench, Row)>> {
    let mut loads = Vec::new();
    for bench in BENCHES.iter().copied().chain([&Queues as &dyn Bench]) {
        let rows = bench.rows(&bench::default_flags(bench), scale)?;
        let in_kernel = |row: &Row| row.name.starts_with("sockets") || row.name.starts_with("pipes");
        let forks = |row: &Row| row.params.get::<String>("kind").is_ok_and(|kind| kind == "processes");
        loads.extend(rows.into_iter().filter(|row| !in_kernel(row) && !forks(row)).map(|row| (bench, row)));
    }
    Ok(loads)
}

fn child(kind: &str, bench: &dyn Bench, row: &Row) -> Result<Counts> {
    let output = Process::new(std::env::current_exe()?)
        .args([NAME, kind, bench.name()])
        .args(row.params.to_args())
        .env(switch::VARIABLE.to_str()?, "kmem")
        .output()?;
    harness::read_json(&output)
}

fn measure(writes: bool, bench: &dyn Bench, params: &Params) -> Result<Counts> {
    count::watch(writes);
    let before = read(1.0);
    let (clock, ticks) = (Instant::now(), count::ticks());
    let time = bench.run(params)?.time;
    let tick = clock.elapsed().as_nanos() as f64 / (count::ticks() - ticks).max(1) as f64;
    count::watch(false);
    Ok(Counts { seconds: time.as_secs_f64(), ..difference(read(tick), &before, tick) })
}

/// All counters now; a tick takes `tick` nanoseconds.
fn read(tick: f64) -> Counts {
    let mut counts = Counts { operations: OPERATIONS.iter().map(|cpu| cpu.0.load(Ordering::Relaxed)).sum(), ..Counts::default() };
    kmem::Slubq::get().for_each_cache(|cache| {
        cache.counters().for_each(|name, value| *counts.slow.entry(name.to_owned()).or_default() += value);
    });
    for (rank, name) in RANKS {
        let Locks { takes, waits, busy, ticks, long } = count::locks(rank);
        counts.locks.insert(name.to_owned(), Lock { takes, waits, busy, nanoseconds: ticks as f64 * tick, long });
    }
    count::for_each_site(|site| {
        let at = counts.sites.entry(format!("{}:{}", site.file, site.line)).or_default();
        (at.writes, at.moved) = (at.writes + site.writes, at.moved + site.moved);
    });
    counts
}

/// `before` was read with a tick of one nanosecond.
fn difference(mut after: Counts, before: &Counts, tick: f64) -> Counts {
    after.operations -= before.operations;
    for (name, value) in &mut after.slow {
        *value -= before.slow.get(name).copied().unwrap_or(0).min(*value);
    }
    for (name, lock) in &mut after.locks {
        let old = before.locks.get(name).cloned().unwrap_or_default();
        lock.takes -= old.takes;
        lock.waits -= old.waits;
        lock.busy -= old.busy;
        lock.long -= old.long;
        lock.nanoseconds -= old.nanoseconds * tick;
    }
    for (name, site) in &mut after.sites {
        let old = before.sites.get(name).cloned().unwrap_or_default();
        (site.writes, site.moved) = (site.writes - old.writes, site.moved - old.moved);
    }
    after
}

fn table(name: &str, writes: &Counts, times: &Counts) -> String {
    let mut text = format!("\n{name}\n  {} operations, {:.1} ns each in this build\n", times.operations, nanoseconds(times));
    let slow = |name: &str| times.slow.get(name).copied().unwrap_or(0);
    let paths = slow("alloc_slowpath") + slow("free_slowpath");
    let between = times.operations as f64 / paths.max(1) as f64;
    let _ = writeln!(text, "  slow paths {:>8.3}   one in {between:.0} operations", per_1000(paths, times));
    let shown = times.slow.iter().filter(|(name, value)| **value > 0 && !name.ends_with("_slowpath"));
    let parts: Vec<_> = shown.map(|(name, value)| format!("{name} {:.3}", per_1000(*value, times))).collect();
    let _ = writeln!(text, "    {}", parts.join(", "));
    let _ = writeln!(text, "  {:<10}{:>10}{:>10}{:>10}{:>10}{:>8}", "locks", "takes", "waits", "busy", "held, ns", "long");
    for (name, lock) in times.locks.iter().filter(|(_, lock)| lock.takes > 0) {
        let [takes, waits, busy] = [lock.takes, lock.waits, lock.busy].map(|value| per_1000(value, times));
        let held = lock.nanoseconds / lock.takes.saturating_sub(lock.long).max(1) as f64;
        let _ = writeln!(text, "  {name:<10}{takes:>10.3}{waits:>10.3}{busy:>10.3}{held:>10.1}{:>8}", lock.long);
    }
    let sum = |value: fn(&Site) -> u64| writes.sites.values().map(value).sum::<u64>();
    let [all, moved] = [sum(|site| site.writes), sum(|site| site.moved)].map(|value| per_1000(value, writes));
    let _ = writeln!(text, "  {:<10}{:>10}{:>10}\n  {:<10}{all:>10.3}{moved:>10.3}", "shared", "writes", "moved", "all");
    let mut sites: Vec<_> = writes.sites.iter().filter(|(_, site)| site.moved > 0).collect();
    sites.sort_by_key(|(_, site)| std::cmp::Reverse(site.moved));
    for (place, site) in sites.into_iter().take(SHOWN) {
        let [all, moved] = [site.writes, site.moved].map(|value| per_1000(value, writes));
        let _ = writeln!(text, "  {:<10}{all:>10.3}{moved:>10.3}   {place}", "");
    }
    text
}

fn nanoseconds(counts: &Counts) -> f64 {
    counts.seconds * 1e9 / counts.operations.max(1) as f64
}

fn per_1000(value: u64, counts: &Counts) -> f64 {
    value as f64 * 1000.0 / counts.operations.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_does_not_count() {
        let lock = |takes, nanoseconds| Lock { takes, nanoseconds, ..Lock::default() };
        let counts = |operations, lock: Lock| Counts {
            operations,
            slow: [("alloc_slab".to_owned(), operations / 10)].into(),
            locks: [("shard".to_owned(), lock)].into(),
            ..Counts::default()
        };
        let after = difference(counts(1010, lock(7, 60.0)), &counts(10, lock(2, 20.0)), 0.5);
        assert_eq!((after.operations, after.slow["alloc_slab"]), (1000, 100));
        assert_eq!((after.locks["shard"].takes, after.locks["shard"].nanoseconds), (5, 50.0));
        let text = table("load", &after, &after);
        assert!(text.contains("shard          5.000") && text.contains("10.0"), "{text}");
    }

    #[test]
    fn forks_and_the_kernel_are_left_out() {
        let loads = loads(Scale::Tiny).unwrap();
        assert!(loads.iter().any(|(bench, _)| bench.name() == "queues"));
        assert!(loads.iter().all(|(_, row)| !row.name.contains("processes") && !row.name.contains("sockets")));
    }
}
