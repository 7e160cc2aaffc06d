use super::*;
use crate::harness::Sample;

fn entry(alloc: &'static str, seconds: f64, peak_rss_bytes: u64) -> Entry {
    let sample = Sample { seconds, peak_rss_bytes, page_faults: 7, settled_rss_bytes: None, live_bytes: None };
    Entry { alloc, samples: vec![sample], failure: None }
}

fn settled_entry(alloc: &'static str, peak_rss_bytes: u64, settled: u64) -> Entry {
    let mut entry = entry(alloc, 1.0, peak_rss_bytes);
    entry.samples[0].settled_rss_bytes = Some(settled);
    entry.samples[0].live_bytes = Some(1 << 20);
    entry
}

fn row(name: &str, entries: Vec<Entry>) -> RowResult {
    RowResult { bench: "churn", row: name.to_owned(), entries }
}

fn crashed(alloc: &'static str) -> Entry {
    Entry { alloc, samples: Vec::new(), failure: Some("signal: 11".to_owned()) }
}

#[test]
fn the_table_sorts_by_time_and_states_ratios() {
    let text = table(&row("1 k", vec![entry("kmem", 1.0, 1 << 20), entry("glibc", 2.0, 3 << 20), entry("fast", 0.5, 1 << 20)]));
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[0], "churn: 1 k");
    assert!(lines[2].contains("fast") && lines[2].contains("0.50"), "{text}");
    assert!(lines[3].contains("kmem") && lines[3].contains("1.00"), "{text}");
    assert!(lines[4].contains("glibc") && lines[4].contains("2.00") && lines[4].contains("3.00"), "{text}");
}

#[test]
fn a_failure_is_shown_last_and_left_out_of_the_json() {
    let result = row("1 k", vec![crashed("glibc"), entry("kmem", 1.0, 1)]);
    assert!(table(&result).lines().last().unwrap().contains("failed: signal: 11"));
    assert_eq!(records(&result).count(), 1);
}

#[test]
fn without_kmem_there_are_no_ratios_and_no_summary() {
    let result = row("1 k", vec![entry("glibc", 2.0, 1)]);
    assert!(table(&result).contains(" - "));
    assert_eq!(summary(&[result]), "");
}

#[test]
fn losses_come_first_and_largest_first() {
    let results = [
        row("won", vec![entry("kmem", 1.0, 1), entry("glibc", 2.0, 2)]),
        row("lost", vec![entry("kmem", 1.2, 1), entry("glibc", 1.0, 2)]),
        row("badly lost", vec![entry("kmem", 3.0, 1), entry("glibc", 1.0, 2)]),
    ];
    let text = summary(&results);
    let lines: Vec<_> = text.trim().lines().map(str::trim).collect();
    assert_eq!(lines[1], "time: kmem is not first in 2 of 3 rows");
    assert_eq!(lines[2], "churn: badly lost: kmem takes 3.00 x glibc");
    assert_eq!(lines[3], "churn: lost: kmem takes 1.20 x glibc");
    assert_eq!(lines[4], "memory (settled RSS where there is one, else peak): kmem is not first in 0 of 3 rows");
}

#[test]
fn forms_of_kmem_are_no_rivals_and_a_crash_of_kmem_is_a_loss() {
    let own = [row("a", vec![entry("kmem", 2.0, 1), entry("kmem-locked", 1.0, 1), entry("glibc", 3.0, 1)])];
    assert!(losses(&own, Entry::seconds).is_empty());
    let crash = [row("a", vec![crashed("kmem"), entry("glibc", 3.0, 1)])];
    assert_eq!(losses(&crash, Entry::seconds).len(), 1);
}

#[test]
fn settled_memory_has_columns_of_its_own_and_ranks() {
    let results = [row("spike", vec![settled_entry("kmem", 4 << 20, 3 << 20), settled_entry("glibc", 5 << 20, 2 << 20)])];
    let text = table(&results[0]);
    assert!(text.contains("settled MiB") && !table(&row("1 k", vec![entry("kmem", 1.0, 1)])).contains("settled MiB"));
    let glibc = text.lines().find(|line| line.contains("glibc")).unwrap();
    assert!(glibc.ends_with("2.0     0.67     2.00"), "{text}");
    assert!(summary(&results).contains("kmem takes 1.50 x glibc"));
    let record = serde_json::to_value(records(&results[0]).next().unwrap()).unwrap();
    assert_eq!((&record["settled_rss_bytes"], &record["live_bytes"]), (&(3 << 20).into(), &(1 << 20).into()));
}

#[test]
fn the_json_is_one_array_of_flat_objects() {
    let results = [row("1 k", vec![entry("kmem", 0.5, 4096), entry("glibc", 1.0, 8192)])];
    let mut out = Vec::new();
    write_json(&results, &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let first = serde_json::json!(
        {"bench": "churn", "row": "1 k", "alloc": "kmem", "seconds": 0.5, "peak_rss_bytes": 4096, "page_faults": 7}
    );
    assert_eq!(value[0], first);
    assert_eq!(value.as_array().unwrap().len(), 2);
}
