//! The page of results: what was run, what to think of it, losses first, every row.

use std::fmt::Write;

use crate::charts;
use crate::compare::{BASE, Figure, Loss, PEAK, SETTLED, TIME, contestants, least_first};
use crate::harness::{Entry, RowResult};
use crate::report::MIB;
use crate::session::Facts;
use crate::stats;

/// Folder of the charts, beside the page.
pub(crate) const CHARTS: &str = "charts";

/// A figure as the page shows it.
struct Column {
    figure: &'static Figure,
    head: &'static str,
    show: fn(f64) -> String,
    /// Chart of its ratios.
    chart: &'static str,
}

/// In this order. A column that nobody has figures for is left out.
const COLUMNS: &[Column] = &[
    Column { figure: &TIME, head: "seconds", show: |seconds| format!("{seconds:.4}"), chart: "time.svg" },
    Column { figure: &PEAK, head: "peak MiB", show: |bytes| format!("{:.1}", bytes / MIB), chart: "memory.svg" },
    Column { figure: &SETTLED, head: "settled MiB", show: |bytes| format!("{:.1}", bytes / MIB), chart: "settled.svg" },
];

/// The charts of a page: name and SVG text.
pub(crate) fn charts(rows: &[RowResult]) -> crate::Result<Vec<(&'static str, String)>> {
    let mut all = vec![("means.svg", charts::means(rows)?)];
    for column in shown(rows) {
        all.push((column.chart, charts::heat_map(rows, column.figure, column.show, column.head)?));
    }
    Ok(all)
}

/// The page. `facts` are those of the runs that `rows` come from.
pub(crate) fn page(facts: &[Facts], rows: &[RowResult]) -> String {
    let mut text = String::from(HEAD);
    about(&mut text, facts);
    caveats(&mut text, facts, rows);
    let _ = writeln!(text, "## Losses first\n\n{LOSSES}");
    shown(rows).for_each(|column| losses(&mut text, column, rows));
    failures(&mut text, rows);
    means(&mut text, rows);
    let _ = writeln!(text, "## Every row\n\n{ROWS}");
    shown(rows).for_each(|column| picture(&mut text, column.chart, column.figure.name));
    rows.iter().for_each(|row| table(&mut text, row));
    text
}

const HEAD: &str = "\
# Benchmarks

Written by `kmem-bench report` from a run that was saved; changes made here by hand are lost. What the losses come from, and what was
tried about them: [performance](performance.md). What the benchmarks do and how the contestants are set up:
[benches/README.md](../benches/README.md).

";

const LOSSES: &str = "\
Rows in which somebody is ahead of kmem, the largest loss first. `kmem takes`: kmem's figure divided by that of the best. `level`: the
two are nearer to each other than the slowest and the fastest run of one of them.
";

const ROWS: &str = "\
Medians, fastest first. **Less is better everywhere.** `x kmem`: the figure divided by kmem's, so above 1 kmem is better. `spread`:
distance between the extreme runs, as a share of the median.
";

fn shown(rows: &[RowResult]) -> impl Iterator<Item = &'static Column> + '_ {
    COLUMNS.iter().filter(|column| rows.iter().any(|row| column.figure.is_in(row)))
}

fn about(text: &mut String, facts: &[Facts]) {
    let _ = writeln!(text, "## What was run, and on what\n");
    for run in facts {
        let idle = run.idle_rss_bytes as f64 / MIB;
        let _ = writeln!(text, "| | |\n|---|---|");
        let lines = [
            ("date", run.date.clone()),
            ("machine", run.machine.clone()),
            ("versions", run.versions.clone()),
            ("settings", run.settings.clone()),
            ("runs", format!("{} per contestant and row ({}), in turns, each in a process of its own", run.runs, run.scale)),
            ("idle child", format!("{idle:.1} MiB, a part of every peak")),
        ];
        lines.iter().for_each(|(name, value)| _ = writeln!(text, "| {name} | {} |", cell(value)));
        text.push('\n');
    }
    if facts.len() > 1 {
        let _ = writeln!(text, "Several runs; a row that was run again counts with its latest figures.\n");
    }
}

fn caveats(text: &mut String, facts: &[Facts], rows: &[RowResult]) {
    let spreads: Vec<_> = rows.iter().flat_map(|row| &row.entries).filter_map(|entry| TIME.spread(entry)).collect();
    let half = percent(stats::median(&spreads).unwrap_or(0.0));
    let large = spreads.iter().filter(|spread| **spread > 0.25).count();
    let cpus = facts.iter().map(|run| run.cpus).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "## Before you believe a difference\n\n\
         * Look at the spread. Others may use the machine too. Half of the {} times here have a spread above {half},\n  \
         and {large} of them one above 25 %. Two contestants that are nearer to each other than that are level.\n\
         * {} CPUs: nothing here shows how anybody scales. [scaling](scaling.md) counts and projects.\n\
         * One machine, one kernel, one C library. Peak memory includes the program itself (idle child, above).\n\
         * Rows over sockets and pipes are mostly the kernel's time.\n",
        spreads.len(),
        if cpus == 0 { "Unknown number of".to_owned() } else { cpus.to_string() },
    );
}

fn losses(text: &mut String, column: &Column, rows: &[RowResult]) {
    let figure = column.figure;
    let losses = figure.losses(rows);
    let clear = losses.iter().filter(|loss| !loss.is_level()).count();
    let _ = writeln!(
        text,
        "**{}**: kmem is not first in {} of {} rows, in {clear} of them by more than the spread.\n",
        charts::capital(figure.name),
        losses.len(),
        figure.compared(rows),
    );
    if losses.is_empty() {
        return;
    }
    let _ = writeln!(text, "| row | first | kmem takes | spread | |\n|---|---|---:|---:|---|");
    losses.iter().for_each(|loss| _ = writeln!(text, "{}", loss_line(loss)));
    text.push('\n');
}

fn loss_line(loss: &Loss<'_>) -> String {
    let ratio = if loss.ratio.is_finite() { format!("{:.2} x", loss.ratio) } else { "failed".to_owned() };
    let level = if loss.is_level() { "level" } else { "" };
    let Loss { result, winner, noise, .. } = loss;
    let row = cell(&format!("{}: {}", result.bench, result.row));
    format!("| {row} | {} | {ratio} | {} | {level} |", winner.alloc, percent(*noise))
}

fn failures(text: &mut String, rows: &[RowResult]) {
    for row in rows {
        for entry in &row.entries {
            if let Some(failure) = &entry.failure {
                let _ = writeln!(text, "**{} failed** in {}: {}: {}\n", entry.alloc, row.bench, cell(&row.row), cell(failure));
            }
        }
    }
}

fn means(text: &mut String, rows: &[RowResult]) {
    let columns: Vec<_> = shown(rows).collect();
    let _ = writeln!(
        text,
        "## Geometric means\n\nFigures divided by kmem's, over all rows: above 1 is slower, or larger, than kmem.\n"
    );
    picture(text, "means.svg", "geometric means");
    let heads: String = columns.iter().map(|column| format!(" {} | rows |", column.figure.name)).collect();
    let _ = writeln!(text, "| |{heads}\n|---|{}", "---:|---:|".repeat(columns.len()));
    for alloc in contestants(rows).into_iter().filter(|alloc| *alloc != BASE) {
        let mean = |column: &&Column| match column.figure.mean(rows, alloc) {
            Some((mean, rows)) => format!(" {mean:.2} | {rows} |"),
            None => " - | 0 |".to_owned(),
        };
        let _ = writeln!(text, "| {alloc} |{}", columns.iter().map(mean).collect::<String>());
    }
    text.push('\n');
}

fn picture(text: &mut String, file: &str, what: &str) {
    let _ = writeln!(text, "![{what}, compared with kmem]({CHARTS}/{file})\n");
}

fn table(text: &mut String, row: &RowResult) {
    let columns: Vec<_> = shown(std::slice::from_ref(row)).collect();
    let heads: String = columns.iter().map(|column| format!(" {} | x kmem | spread |", column.head)).collect();
    let _ = writeln!(text, "### {}: {}\n\n| |{heads}\n|---|{}", row.bench, cell(&row.row), "---:|---:|---:|".repeat(columns.len()));
    for entry in least_first(row, &TIME) {
        let name = if entry.alloc == BASE { format!("**{BASE}**") } else { entry.alloc.clone() };
        let _ = writeln!(text, "| {name} |{}", columns.iter().map(|column| figures(column, row, entry)).collect::<String>());
    }
    text.push('\n');
}

fn figures(column: &Column, row: &RowResult, entry: &Entry) -> String {
    let figure = column.figure;
    let Some(median) = figure.median(entry) else {
        return format!(" {} | | |", if entry.failure.is_some() { "failed" } else { "-" });
    };
    let ratio = figure.ratio(row, entry).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    format!(" {} | {ratio} | {} |", (column.show)(median), percent(figure.spread(entry).unwrap_or(0.0)))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Text that cannot end its cell, or begin an element.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
