//! `queues`: kmem with its per-CPU queues against kmem without, and one CPU's traffic against two CPUs'.

use std::fmt::Write;

use crate::bench::queues::{BATCHES, HANDED_OVER, OTHER_CPU, Queues, SAME_CPU};
use crate::bench::{self, Bench, Scale, hackbench::Hackbench};
use crate::contestant::{Contestant, KMEM};
use crate::harness::{Harness, RowResult, Task};
use crate::{Result, stats};

const ON: Contestant = Contestant { name: "on", env: &[("KMEM_CONF", "queues:on")], ..KMEM };
const OFF: Contestant = Contestant { name: "off", env: &[("KMEM_CONF", "queues:off")], ..KMEM };
/// The row of hackbench that the allocator decides.
const HACKBENCH: &str = "channel, threads, 10 groups";
/// Share of the speed on one CPU that traffic between two must reach.
const ONE_WAY: f64 = 0.6;

/// Measures and returns the tables.
pub(crate) fn run(scale: Scale, runs: u32) -> Result<String> {
    let mut tasks = Vec::new();
    // Rows are compared with each other, so that they take turns too.
    for _ in 0..runs {
        tasks.extend(rows(&Queues, scale, |_| true)?);
        tasks.extend(rows(&Hackbench, scale, |name| name == HACKBENCH)?);
    }
    let contestants = [&ON, &OFF];
    let results = Harness { contestants: &contestants, common: &[], runs: 1 }.measure(&tasks, |_| ());
    let failure = results.iter().flat_map(|result| &result.entries).find_map(|entry| entry.failure.clone());
    failure.map_or_else(|| Ok(tables(&results)), |failure| Err(failure.into()))
}

fn rows(bench: &'static dyn Bench, scale: Scale, wanted: impl Fn(&str) -> bool) -> Result<Vec<Task>> {
    let rows = bench.rows(&bench::default_flags(bench), scale)?.into_iter().filter(|row| wanted(&row.name));
    Ok(rows.map(|row| Task { bench, row }).collect())
}

fn tables(results: &[RowResult]) -> String {
    let mut text = format!("seconds, medians\n{:<34}{:>10}{:>10}{:>10}{:>10}\n", "queues", "on", "off", "gain", "target");
    let targets = BATCHES.iter().map(|(batch, order, target)| (order.row(*batch), Some(*target)));
    for (row, target) in targets.chain([(HACKBENCH.to_owned(), None)]) {
        if let (Some(on), Some(off)) = (median(results, &row, ON.name), median(results, &row, OFF.name)) {
            let _ = writeln!(text, "{row:<34}{on:>10.4}{off:>10.4}{}", against((off / on - 1.0) * 100.0, target));
        }
    }
    traffic(&mut text, results);
    text
}

/// Traffic between two CPUs, against one thread that frees what it allocated: without any traffic, and with that of the addresses, which
/// takes most of the time and is not the allocator's.
fn traffic(text: &mut String, results: &[RowResult]) {
    let seconds = |row| median(results, row, ON.name);
    let (Some(same), Some(handed), Some(other)) = (seconds(SAME_CPU), seconds(HANDED_OVER), seconds(OTHER_CPU)) else { return };
    text.push('\n');
    for (row, seconds) in [(SAME_CPU, same), (HANDED_OVER, handed), (OTHER_CPU, other)] {
        let _ = writeln!(text, "{row:<34}{seconds:>10.4}");
    }
    for (than, seconds) in [("first", same), ("second", handed)] {
        let speed = seconds / other;
        let _ = writeln!(text, "speed of the third, x the {than:<8}{speed:>10.2}   target {ONE_WAY} {}", verdict(speed >= ONE_WAY));
    }
}

fn against(gain: f64, target: Option<f64>) -> String {
    let target = target.map_or(String::new(), |target| format!("{target:>8.0} %  {}", verdict(gain >= target)));
    format!("{gain:>8.0} %{target}").trim_end().to_owned()
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

fn median(results: &[RowResult], row: &str, alloc: &str) -> Option<f64> {
    let entries = results.iter().filter(|result| result.row == row).flat_map(|result| &result.entries);
    let seconds: Vec<_> = entries.filter(|entry| entry.alloc == alloc).filter_map(|entry| entry.seconds()).collect();
    stats::median(&seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Entry, Sample};

    fn result(row: &str, on: f64, off: f64) -> RowResult {
        let entry = |alloc: &str, seconds| Entry {
            alloc: alloc.to_owned(),
            samples: vec![Sample { seconds, ..Sample::default() }],
            failure: None,
        };
        RowResult { bench: "queues".to_owned(), row: row.to_owned(), entries: vec![entry("on", on), entry("off", off)] }
    }

    #[test]
    fn gains_are_medians_in_percent_of_the_time_with_queues() {
        let row = "batches of 10, in order";
        let text = tables(&[result(row, 1.0, 1.1), result(row, 2.0, 2.4), result(row, 9.0, 9.0)]);
        assert!(text.contains("2.0000    2.4000      20 %      15 %  reached"), "{text}");
        assert!(tables(&[result(row, 1.0, 1.1)]).contains("10 %      15 %  MISSED"));
    }

    #[test]
    fn one_way_traffic_is_compared_in_speed() {
        let text = tables(&[result(SAME_CPU, 1.0, 9.0), result(HANDED_OVER, 1.6, 9.0), result(OTHER_CPU, 2.0, 9.0)]);
        assert!(text.contains("0.50   target 0.6 MISSED") && text.contains("0.80   target 0.6 reached"), "{text}");
    }
}
