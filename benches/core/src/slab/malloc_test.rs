//! malloc-test on kmem over slabs: one pair, two threads against two processes, and the time by threads.

use super::contest::{Times, show};
use super::fit::Fit;
use super::markdown::{section, table};
use super::{Run, verdict};
use crate::bench::malloc_test::{MallocTest, row};
use crate::bench::{Row, count};
use crate::contestant::{Contestant, GLIBC, KMEM, KMEM_MAGAZINES, KMEM_SLAB};
use crate::crew::Kind;
use crate::{Result, machine};

const ALL: [&Contestant; 4] = [&KMEM_SLAB, &KMEM_MAGAZINES, &KMEM, &GLIBC];

/// Bytes of a block where one pair is timed.
const SIZES: [u32; 3] = [64, 512, 4096];
/// Times glibc's and slubq's that a pair may take.
const OF_GLIBC: f64 = 1.0;
const OF_SLUBQ: f64 = 1.15;

/// Bytes of a block in the report on scaling, as in the benchmark.
const SIZE: u32 = 512;
/// Threads of the curve: on every machine the same.
const THREADS: [usize; 7] = [1, 2, 4, 8, 16, 24, 32];
const PROCESSES: &str = "2 processes";
/// Times two processes that two threads may take.
const SHARED: f64 = 1.10;
/// How far from the line a point may be, and how much of the variance it must explain.
const OFF_LINE: f64 = 0.05;
const R2: f64 = 0.99;

/// One thread, one size.
pub(super) fn pair(run: &Run<'_>) -> Result<String> {
    let pairs = run.scale.pick(1_000, 5_000_000, 20_000_000);
    let name = |size: u32| format!("{size} B");
    let rows: Vec<_> = SIZES.iter().map(|size| row(name(*size), 1, Kind::Threads, pairs, *size)).collect();
    let times = Times::measure(run, &ALL, &MallocTest, &rows).complete()?;
    let line = |size: &u32, alloc: &'static str| {
        let row = name(*size);
        let ratio = |other| times.ratio((&row, alloc), (&row, other));
        let (glibc, slubq) = (ratio(GLIBC.name), ratio(KMEM.name));
        let reached = glibc.is_some_and(|ratio| ratio <= OF_GLIBC) && slubq.is_some_and(|ratio| ratio <= OF_SLUBQ);
        vec![
            format!("{row}, {alloc}"),
            show(times.seconds(&row, alloc).map(|seconds| seconds * 1e9 / pairs as f64), 2),
            show(times.spread(&row, alloc).map(|spread| spread * 100.0), 0),
            show(times.fastest(&row, alloc).map(|seconds| seconds * 1e9 / pairs as f64), 2),
            show(glibc, 3),
            show(slubq, 3),
            if alloc.starts_with(KMEM_SLAB.name) || alloc == KMEM_MAGAZINES.name { verdict(reached) } else { String::new() },
        ]
    };
    let lines: Vec<_> =
        SIZES.iter().flat_map(|size| ALL.iter().map(move |one| (size, one.name))).map(|(s, a)| line(s, a)).collect();
    let about = "One thread allocates a block, writes a byte and frees it. `x`: median over the turns of its time divided by the other's. \
                 Targets: at most glibc's, at most 1.15 times slubq's (`kmem`).";
    Ok(section(
        "One pair of alloc and free",
        about,
        &["", "ns per pair", "spread %", "fastest", "x glibc", "x slubq", "target"],
        &lines,
    ))
}

/// Two threads against two processes, and threads from 1 to 32.
pub(super) fn scaling(run: &Run<'_>) -> Result<String> {
    let pairs = run.scale.pick(1_000, 2_000_000, 10_000_000);
    let threads = THREADS.map(|threads| row(count(threads, "thread"), threads, Kind::Threads, pairs, SIZE));
    let rows: Vec<Row> = threads.into_iter().chain([row(PROCESSES.to_owned(), 2, Kind::Processes, pairs, SIZE)]).collect();
    let times = Times::measure(run, &ALL, &MallocTest, &rows).complete()?;
    let about =
        format!("{pairs} pairs of {SIZE} bytes per worker. Targets: two threads take at most {SHARED} times two processes.");
    let lines: Vec<_> = ALL.iter().map(|one| shared(&times, one.name)).collect();
    let head = ["", "2 threads, s", "2 processes, s", "spread %", "threads x processes", "fastest", "target"];
    let first = section("malloc-test", &about, &head, &lines);
    let curve = |one: &&Contestant| {
        let (name, fastest) = (one.name.to_owned(), format!("{}, fastest", one.name));
        [curve(name, |row| times.seconds(row, one.name)), curve(fastest, |row| times.fastest(row, one.name))]
    };
    let curves: Vec<_> = ALL.iter().flat_map(curve).flatten().collect();
    let by_threads: Vec<_> = THREADS.iter().map(|threads| format!("{threads}, s")).collect();
    let head: Vec<_> = ["threads"]
        .into_iter()
        .chain(by_threads.iter().map(String::as_str))
        .chain(["slope, s", "furthest off", "R2", "target"])
        .collect();
    let about = "The line goes through the origin and has the mean slope of the points with as many threads as CPUs or more; with fewer, \
                 as long as one thread is expected. Targets: 5 %, R2 0.99. `fastest`: the same with the fastest run of each point.";
    Ok(format!("{first}\n{about}\n\n{}", table(&head, &curves)))
}

fn shared(times: &Times, alloc: &str) -> Vec<String> {
    let threads = count(2, "thread");
    let ratio = times.ratio((&threads, alloc), (PROCESSES, alloc));
    vec![
        alloc.to_owned(),
        show(times.seconds(&threads, alloc), 4),
        show(times.seconds(PROCESSES, alloc), 4),
        show(
            [&threads, PROCESSES].iter().filter_map(|row| times.spread(row, alloc)).reduce(f64::max).map(|spread| spread * 100.0),
            0,
        ),
        show(ratio, 3),
        show(
            times.fastest(&threads, alloc).zip(times.fastest(PROCESSES, alloc)).map(|(threads, processes)| threads / processes),
            3,
        ),
        verdict(ratio.is_some_and(|ratio| ratio <= SHARED)),
    ]
}

fn curve(name: String, seconds: impl Fn(&str) -> Option<f64>) -> Option<Vec<String>> {
    // Below one thread per CPU more threads take as long as one.
    let at = |threads: usize| Some((threads.max(machine::cpus()) as f64, seconds(&count(threads, "thread"))?));
    let points = THREADS.iter().map(|threads| at(*threads)).collect::<Option<Vec<_>>>()?;
    let fit = Fit::of(&points)?;
    let off = points.iter().map(|point| fit.deviation(*point)).max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
    let seconds = points.iter().map(|(_, seconds)| format!("{seconds:.3}"));
    let reached = off.abs() <= OFF_LINE && fit.r2 >= R2;
    let figures = [format!("{:.4}", fit.slope), format!("{:+.1} %", off * 100.0), format!("{:.4}", fit.r2), verdict(reached)];
    Some([name].into_iter().chain(seconds).chain(figures).collect())
}
