//! What the user reads: a table per row, a closing summary with the losses first, and the JSON file.

use std::fmt::Write;
use std::io;

use serde::Serialize;

use crate::Result;
use crate::contestant::is_kmem;
use crate::harness::{Entry, RowResult};
use crate::stats::geometric_mean;

/// The contestant that all others are compared with.
const BASE: &str = "kmem";

/// What ranks beside the time.
const MEMORY: &str = "memory (settled RSS where there is one, else peak)";

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
    for entry in fastest_first(&result.entries) {
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

fn fastest_first(entries: &[Entry]) -> Vec<&Entry> {
    let mut sorted: Vec<_> = entries.iter().collect();
    let key = |entry: &Entry| entry.seconds().unwrap_or(f64::INFINITY);
    sorted.sort_by(|a, b| key(a).total_cmp(&key(b)));
    sorted
}

fn base(result: &RowResult) -> Option<&Entry> {
    result.entries.iter().find(|entry| entry.alloc == BASE)
}

/// The closing summary: where kmem is not first, then how the others compare over all rows.
pub(crate) fn summary(results: &[RowResult]) -> String {
    let compared = results.iter().filter(|result| rivals(result).next().is_some() && base(result).is_some()).count();
    if compared == 0 {
        return String::new();
    }
    let mut text = String::from("\nSummary\n");
    section(&mut text, "time", compared, &losses(results, Entry::seconds));
    section(&mut text, MEMORY, compared, &losses(results, Entry::memory));
    means(&mut text, results);
    text
}

fn section(text: &mut String, what: &str, rows: usize, losses: &[Loss<'_>]) {
    let _ = writeln!(text, "  {what}: kmem is not first in {} of {rows} rows", losses.len());
    for loss in losses {
        let Loss { result, winner, ratio } = loss;
        let noise = base(result).and_then(Entry::spread).unwrap_or(0.0).max(winner.spread().unwrap_or(0.0));
        let level = if what == "time" && ratio - 1.0 <= noise { ", within the spread" } else { "" };
        let _ = writeln!(text, "    {}: {}: kmem takes {ratio:.2} x {}{level}", result.bench, result.row, winner.alloc);
    }
}

/// A row in which a rival is ahead, and by how much.
struct Loss<'a> {
    result: &'a RowResult,
    winner: &'a Entry,
    ratio: f64,
}

/// Largest first. A row in which kmem failed is a loss without end.
fn losses<'a>(results: &'a [RowResult], figure: fn(&Entry) -> Option<f64>) -> Vec<Loss<'a>> {
    let loss = |result: &'a RowResult| {
        let own = figure(base(result)?).unwrap_or(f64::INFINITY);
        let (winner, best) = rivals(result).filter_map(|entry| Some((entry, figure(entry)?))).min_by(|a, b| a.1.total_cmp(&b.1))?;
        (own > best).then_some(Loss { result, winner, ratio: own / best })
    };
    let mut losses: Vec<_> = results.iter().filter_map(loss).collect();
    losses.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    losses
}

fn rivals(result: &RowResult) -> impl Iterator<Item = &Entry> {
    result.entries.iter().filter(|entry| !is_kmem(entry.alloc))
}

fn means(text: &mut String, results: &[RowResult]) {
    let Some(first) = results.first() else { return };
    let _ = writeln!(text, "  geometric means over all rows, x kmem (above 1: slower, larger than kmem)");
    for alloc in first.entries.iter().map(|entry| entry.alloc).filter(|alloc| *alloc != BASE) {
        let mean = |figure| geometric_mean(&ratios(results, alloc, figure));
        if let (Some(time), Some(rss)) = (mean(Entry::seconds), mean(Entry::memory)) {
            let _ = writeln!(text, "    {alloc:<15} time {time:>6.2}   memory {rss:>6.2}");
        }
    }
}

fn ratios(results: &[RowResult], alloc: &str, figure: fn(&Entry) -> Option<f64>) -> Vec<f64> {
    let ratio = |result: &RowResult| {
        let own = result.entries.iter().find(|entry| entry.alloc == alloc)?;
        Some(figure(own)? / figure(base(result)?)?)
    };
    results.iter().filter_map(ratio).collect()
}

/// Writes all medians as one array.
pub(crate) fn write_json(results: &[RowResult], out: impl io::Write) -> Result<()> {
    Ok(serde_json::to_writer_pretty(out, &results.iter().flat_map(records).collect::<Vec<_>>())?)
}

fn records(result: &RowResult) -> impl Iterator<Item = Record<'_>> {
    result.entries.iter().filter_map(|entry| {
        Some(Record {
            bench: result.bench,
            row: &result.row,
            alloc: entry.alloc,
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
