//! The program as its user starts it: every row on kmem and on glibc, with as good as no work.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn kmem_bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kmem-bench-core")).args(args).output().expect("the program starts")
}

fn temporary(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn all_runs_every_row_on_both() {
    let file = temporary("all.json");
    let path = file.to_str().unwrap();
    let output = kmem_bench(&["all", "--tiny", "--runs", "1", "--alloc", "kmem,kmem-locked,glibc", "--json", path]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.stderr.is_empty(), "no progress bar where there is no terminal");
    let records: Vec<Value> = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let benches = [
        "hackbench",
        "malloc-test",
        "churn",
        "larson",
        "xmalloc",
        "scratch",
        "thrash",
        "bulk",
        "large",
        "realloc",
        "spike",
        "index",
        "keyvalue",
        "startup",
    ];
    for bench in benches {
        let of = |alloc| records.iter().filter(|r| r["bench"] == bench && r["alloc"] == alloc).count();
        assert!(of("kmem") > 0, "{bench}");
        assert_eq!(of("kmem"), of("glibc"));
    }
    for record in &records {
        assert!(record["seconds"].as_f64().unwrap() > 0.0);
        assert!(record["peak_rss_bytes"].as_u64().unwrap() > 0);
        assert!(record["page_faults"].as_u64().unwrap() > 0);
        let settles = ["spike", "keyvalue", "startup"].contains(&record["bench"].as_str().unwrap());
        assert_eq!(record["settled_rss_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), settles);
        assert!(record["row"].is_string());
    }
}

#[test]
fn the_output_has_machine_table_and_summary() {
    let output = text(&kmem_bench(&["churn", "--tiny", "--runs", "2", "--alloc", "kmem,glibc"]).stdout);
    for part in ["CPUs", "Linux", "glibc 2.", "churn: 1 k live", "x kmem", "kmem is not first in"] {
        assert!(output.contains(part), "{part} is missing in\n{output}");
    }
}

#[test]
fn hackbench_takes_the_original_flags() {
    let flags: [&[&str]; 4] = [&["-p", "-T"], &["-P"], &["--channel"], &["-T", "-s", "5000"]];
    for kind in flags {
        let args = [&["hackbench", "-g", "2", "-f", "3", "-l", "4", "--runs", "1", "--alloc", "kmem"], kind].concat();
        let output = kmem_bench(&args);
        assert!(output.status.success(), "{kind:?}: {}", text(&output.stdout));
        assert!(text(&output.stdout).contains("2 groups"));
    }
}

#[test]
fn a_child_reports_one_line_of_json() {
    let output = Command::new(env!("CARGO_BIN_EXE_kmem-bench-core"))
        .args(["child", "malloc-test", "workers=2", "kind=processes", "pairs=100", "size=64"])
        .env("KMEM_BENCH_ALLOC", "kmem")
        .output()
        .unwrap();
    let sample: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(sample["seconds"].is_number() && sample["peak_rss_bytes"].is_number());
    assert_eq!(text(&output.stdout).lines().count(), 1);
}

#[test]
fn an_unknown_allocator_is_refused() {
    let output = kmem_bench(&["churn", "--alloc", "hoard"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("no contestant 'hoard'"));
    let child = Command::new(env!("CARGO_BIN_EXE_kmem-bench-core")).env("KMEM_BENCH_ALLOC", "hoard").output().unwrap();
    assert_eq!(child.status.code(), Some(2));
    assert!(text(&child.stderr).contains("KMEM_BENCH_ALLOC"));
}

#[test]
fn an_unwritable_json_file_is_refused_before_the_run() {
    let output = kmem_bench(&["all", "--json", "/nonexistent/out.json"]);
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
}

#[test]
fn queues_are_compared_with_none_and_two_cpus_with_one() {
    let output = kmem_bench(&["queues", "--tiny", "--runs", "2"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let text = text(&output.stdout);
    for part in ["batches of 1000, in order", "batches of 10, shuffled", "channel, threads, 10 groups", "target 0.6"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn every_part_of_the_report_on_slabs_has_its_table() {
    let output = kmem_bench(&["slab", "--tiny", "--runs", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all = text(&output.stdout);
    for part in [
        "## Shapes",
        "## Colours",
        "## Slow paths and locks",
        "## Memory after a shrink",
        "## One pair of alloc and free",
        "## malloc-test",
        "## Requests and responses",
        "## hackbench over channels",
        "1 group, kmem-magazines",
        "12 x the CPUs",
    ] {
        assert!(all.contains(part), "{part} is missing in\n{all}");
    }
    let one = text(&kmem_bench(&["slab", "shapes", "--tiny"]).stdout);
    assert!(one.contains("## Shapes") && one.matches("## ").count() == 1, "{one}");
}

#[test]
fn every_part_of_the_report_on_footprints_has_its_table() {
    let output = kmem_bench(&["footprint", "--tiny", "--runs", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all = text(&output.stdout);
    let parts =
        ["## Heap efficiency", "## A recorded program", "## Mix of a system's start", "## Bounded work", "## Drift", "## Speed"];
    for part in parts.into_iter().chain(["talc", "dlmalloc", "rlsf", "linked_list", "llff", "tlsf", "buddy", "kmem over slab"]) {
        assert!(all.contains(part), "{part} is missing in\n{all}");
    }
    let one = text(&kmem_bench(&["footprint", "trace"]).stdout);
    assert!(one.contains("| kmem-slob") && one.matches("## ").count() == 1, "{one}");
}

#[cfg(not(feature = "count"))]
#[test]
fn counting_takes_a_build_that_counts() {
    let output = kmem_bench(&["count"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("--features count"));
}

#[cfg(feature = "count")]
#[test]
fn every_load_is_counted() {
    let output = kmem_bench(&["count", "--tiny"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let text = text(&output.stdout);
    for part in
        ["churn: 1 k live", "xmalloc: 1 producer", "queues: batches of 1000", "slow paths", "shard", "pages", "slubq/src/slab.rs"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}
