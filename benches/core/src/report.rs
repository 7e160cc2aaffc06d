//! What the user reads while it runs: a table per row, a closing summary with the losses first; and the JSON file of medians.

use std::fmt::Write;
use std::io;

use serde::Serialize;

use crate::Result;
use crate::compare::{BASE, Figure, MEMORY, TIME, base, contestants, least_first};
use crate::harness::{Entry, RowResult};

/// Bytes in a mebibyte.
pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// One object of the JSON file.
#[derive(Debug, PartialEq, Serialize)]
struct Record<'a> {
    bench: &'a str,
    row: &'a str,
    alloc: &'a str,
    seconds: f64,
    peak_rss_bytes: u64,
    page_faults: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live_bytes: Option<u64>,
}

/// Explains the columns, once above the first table.
pub(crate) const LEGEND: &str = "medians; spread: slowest run to fastest; x kmem: the figure divided by kmem's, so above 1 is slower or larger; \
     settled: resident some time after the work";

/// One row as a table, fastest contestant first.
pub(crate) fn table(result: &RowResult) -> String {
    let mut text = format!(
        "\n{}: {}\n  {:<15}{:>10}{:>9}{:>9}{:>13}{:>9}{:>10}{}\n",
        result.bench,
        result.row,
        "",
        "seconds",
        "x kmem",
        "spread",
        "peak MiB",
        "x kmem",
        "faults",
        settled_heading(result)
    );
    for entry in least_first(result, &TIME) {
        let _ = writeln!(text, "  {:<15}{}", entry.alloc, figures(entry, base(result)));
    }
    text
}

fn figures(entry: &Entry, base: Option<&Entry>) -> String {
    let (Some(seconds), Some(rss), Some(spread)) = (entry.seconds(), entry.peak_rss(), entry.spread()) else {
        return format!("  failed: {}", entry.failure.as_deref().unwrap_or("no runs"));
    };
    format!(
        "{seconds:>10.4}{:>9}{:>7.0} %{:>13.1}{:>9}{:>10}{}",
        ratio(seconds, base.and_then(Entry::seconds)),
        spread * 100.0,
        rss / MIB,
        ratio(rss, base.and_then(Entry::peak_rss)),
        entry.page_faults().unwrap_or(0.0),
        settled(entry, base),
    )
}

fn ratio(own: f64, base: Option<f64>) -> String {
    base.map_or("-".to_owned(), |base| format!("{:.2}", own / base))
}

/// The columns of rows that wait for what stays resident.
fn settled_heading(result: &RowResult) -> String {
    let any = result.entries.iter().any(|entry| entry.settled_rss().is_some());
    if any { format!("{:>13}{:>9}{:>9}", "settled MiB", "x kmem", "/ live") } else { String::new() }
}

fn settled(entry: &Entry, base: Option<&Entry>) -> String {
    let Some(rss) = entry.settled_rss() else { return String::new() };
    format!("{:>13.1}{:>9}{:>9}", rss / MIB, ratio(rss, base.and_then(Entry::settled_rss)), ratio(rss, entry.live()))
}

/// The closing summary: where kmem is not first, then how the others compare over all rows.
pub(crate) fn summary(results: &[RowResult]) -> String {
    if TIME.compared(results) == 0 {
        return String::new();
    }
    let mut text = String::from("\nSummary\n");
    section(&mut text, &TIME, results);
    section(&mut text, &MEMORY, results);
    means(&mut text, results);
    text
}

fn section(text: &mut String, figure: &Figure, results: &[RowResult]) {
    let losses = figure.losses(results);
    let _ = writeln!(text, "  {}: kmem is not first in {} of {} rows", figure.name, losses.len(), figure.compared(results));
    for loss in losses {
        let level = if loss.is_level() { ", within the spread" } else { "" };
        let (result, winner, ratio) = (loss.result, &loss.winner.alloc, loss.ratio);
        let _ = writeln!(text, "    {}: {}: kmem takes {ratio:.2} x {winner}{level}", result.bench, result.row);
    }
}

fn means(text: &mut String, results: &[RowResult]) {
    let _ = writeln!(text, "  geometric means over all rows, x kmem (above 1: slower, larger than kmem)");
    for alloc in contestants(results).into_iter().filter(|alloc| *alloc != BASE) {
        if let (Some((time, _)), Some((rss, _))) = (TIME.mean(results, alloc), MEMORY.mean(results, alloc)) {
            let _ = writeln!(text, "    {alloc:<15} time {time:>6.2}   memory {rss:>6.2}");
        }
    }
}

/// Writes all medians as one array.
pub(crate) fn write_json(results: &[RowResult], out: impl io::Write) -> Result<()> {
    Ok(serde_json::to_writer_pretty(out, &results.iter().flat_map(records).collect::<Vec<_>>())?)
}

fn records(result: &RowResult) -> impl Iterator<Item = Record<'_>> {
    result.entries.iter().filter_map(|entry| {
        Some(Record {
            bench: &result.bench,
            row: &result.row,
            alloc: &entry.alloc,
            seconds: entry.seconds()?,
            peak_rss_bytes: entry.peak_rss()? as u64,
            page_faults: entry.page_faults()? as u64,
            settled_rss_bytes: entry.settled_rss().map(|bytes| bytes as u64),
            live_bytes: entry.live().map(|bytes| bytes as u64),
        })
    })
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
