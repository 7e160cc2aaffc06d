//! Blocks that one thread allocates and another frees: requests and responses, and hackbench.

use super::contest::{Times, show};
use super::markdown::{section, table};
use super::{Run, verdict};
use crate::Result;
use crate::bench::hackbench::Hackbench;
use crate::bench::request_response::{PER_CPU, RequestResponse, row_name};
use crate::bench::{Bench, Row, default_flags};
use crate::contestant::{Contestant, KMEM, KMEM_MAGAZINES, KMEM_SLAB};

/// Share of the speed of array caches that slubq must reach at every point, and of its own best point at its worst.
const OF_SLAB: f64 = 0.98;
const OF_BEST: f64 = 0.93;

/// Requests and responses over 1 to 12 times the CPUs.
pub(super) fn sweep(run: &Run<'_>) -> Result<String> {
    let all: [&'static Contestant; 3] = [&KMEM, &KMEM_SLAB, &KMEM_MAGAZINES];
    let rows = RequestResponse.rows(&default_flags(&RequestResponse), run.scale)?;
    let times = Times::measure(run, &all, &RequestResponse, &rows).complete()?;
    let speed = |per_cpu: usize, other: &str| times.ratio((&row_name(per_cpu), other), (&row_name(per_cpu), KMEM.name));
    let line = |per_cpu: usize| {
        let row = row_name(per_cpu);
        let seconds = all.map(|one| show(times.seconds(&row, one.name), 4));
        let spread = all.iter().filter_map(|one| times.spread(&row, one.name)).fold(0.0, f64::max);
        let ratios = [KMEM_SLAB, KMEM_MAGAZINES].map(|other| show(speed(per_cpu, other.name), 3));
        [row].into_iter().chain(seconds).chain([format!("{:.0}", spread * 100.0)]).chain(ratios).collect::<Vec<_>>()
    };
    let lines: Vec<_> = PER_CPU.map(line).collect();
    let head = ["pairs", "slubq, s", "slab, s", "magazines, s", "spread %", "slubq's speed x slab's", "x magazines'"];
    let about = "Pairs of threads that send each other bursts of 128 messages of two blocks, which who gets them frees. The same work in \
                 each row.";
    let worst = PER_CPU.filter_map(|per_cpu| speed(per_cpu, KMEM_SLAB.name)).reduce(f64::min);
    let flat = all.map(|one| {
        let seconds: Vec<_> = PER_CPU.filter_map(|per_cpu| times.seconds(&row_name(per_cpu), one.name)).collect();
        let flat =
            seconds.iter().copied().reduce(f64::min).zip(seconds.iter().copied().reduce(f64::max)).map(|(low, high)| low / high);
        let verdict = if one.name == KMEM.name { verdict(flat.is_some_and(|flat| flat >= OF_BEST)) } else { String::new() };
        vec![format!("slowest point of {} x its fastest", one.name), show(flat, 3), OF_BEST.to_string(), verdict]
    });
    let worst_line = vec![
        "slubq's speed x slab's, worst point".to_owned(),
        show(worst, 3),
        OF_SLAB.to_string(),
        verdict(worst.is_some_and(|worst| worst >= OF_SLAB)),
    ];
    let summary = table(&["", "measured", "at least", "target"], &[vec![worst_line], flat.into()].concat());
    Ok(format!("{}\n{summary}", section("Requests and responses", about, &head, &lines)))
}

/// What the author of SLUB+Q had: his time divided by SLAB's, by groups; and what is asked for.
const SEED: [(usize, &str, f64); 3] = [(1, "1.0", 1.03), (10, "0.85 to 0.94", 0.94), (100, "0.814", 0.82)];

/// hackbench over channels, on all contestants.
pub(super) fn hackbench(run: &Run<'_>) -> Result<String> {
    let over_channels = |row: &Row| row.name.starts_with("channel");
    let rows: Vec<_> = Hackbench.rows(&default_flags(&Hackbench), run.scale)?.into_iter().filter(over_channels).collect();
    let mut all: Vec<&'static Contestant> = vec![&KMEM, &KMEM_SLAB, &KMEM_MAGAZINES];
    all.extend(run.contestants.iter().filter(|one| ![KMEM.name, KMEM_SLAB.name, KMEM_MAGAZINES.name].contains(&one.name)));
    let times = Times::measure(run, &all, &Hackbench, &rows);
    let mut lines = Vec::new();
    for one in &all {
        for row in &rows {
            let ratio = |other: &str| show(times.ratio((&row.name, one.name), (&row.name, other)), 3);
            lines.push(vec![
                format!("{}, {}", row.name.trim_start_matches("channel, threads, "), one.name),
                show(times.seconds(&row.name, one.name), 4),
                show(times.spread(&row.name, one.name).map(|spread| spread * 100.0), 0),
                ratio(KMEM_SLAB.name),
                ratio(KMEM.name),
            ]);
        }
    }
    lines.sort_by_key(|line| rows.iter().position(|row| row.name.ends_with(line[0].split(',').next().unwrap_or_default())));
    let about = "Groups of 20 senders and 20 receivers; a message is allocated by its sender and freed by its receiver.";
    let text = section("hackbench over channels", about, &["", "seconds", "spread %", "x slab", "x slubq"], &lines);
    Ok(format!("{text}\n{}", claim(&times, &rows)))
}

/// Whether SLUB with queues is as far ahead of SLAB as its author had it.
fn claim(times: &Times, rows: &[Row]) -> String {
    let line = |row: &Row| {
        let groups: usize = row.params.get("groups").ok()?;
        let (_, seed, target) = SEED.iter().find(|(of, ..)| *of == groups)?;
        let ratio = times.ratio((&row.name, KMEM.name), (&row.name, KMEM_SLAB.name));
        let reached = verdict(ratio.is_some_and(|ratio| ratio <= *target));
        Some(vec![row.name.clone(), (*seed).to_owned(), show(ratio, 3), target.to_string(), reached])
    };
    let lines: Vec<_> = rows.iter().filter_map(line).collect();
    table(&["slubq's time x slab's", "SLUB+Q, 2010", "measured", "at most", "target"], &lines)
}
