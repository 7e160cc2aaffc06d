//! `kmem-bench report`: a page and its charts from a run that was saved, and what it says to files that are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CHARTS: [&str; 4] = ["means.svg", "time.svg", "memory.svg", "settled.svg"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report").join(name)
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn kmem_bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kmem-bench-core")).args(args).output().expect("the program starts")
}

fn report(from: &Path, out: &Path) -> Output {
    kmem_bench(&["report", "--from", from.to_str().unwrap(), "--out", out.to_str().unwrap()])
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_page_is_the_one_that_was_agreed_on() {
    let out = folder("golden").join("page.md");
    let output = report(&fixture("run.json"), &out);
    assert!(output.status.success(), "{}", complaint(&output));
    let (page, golden) = (fs::read_to_string(&out).unwrap(), fs::read_to_string(fixture("page.md")).unwrap());
    let difference = page.lines().zip(golden.lines()).find(|(is, was)| is != was);
    assert!(page == golden, "compare {} with tests/report/page.md: {difference:?}", out.display());
}

#[test]
fn every_chart_is_there_and_names_rows_and_contestants() {
    let out = folder("charts").join("page.md");
    assert!(report(&fixture("run.json"), &out).status.success());
    let page = fs::read_to_string(&out).unwrap();
    for chart in CHARTS {
        assert!(page.contains(&format!("(charts/{chart})")), "{chart} is not in the page");
        let svg = fs::read_to_string(out.with_file_name("charts").join(chart)).unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{chart}");
        assert!(svg.contains("glibc") && svg.contains("kmem"), "{chart}");
        assert!(svg.to_lowercase().contains("lower"), "{chart} does not say which direction is better");
    }
    let chart = |name: &str| fs::read_to_string(out.with_file_name("charts").join(name)).unwrap();
    assert!(chart("time.svg").contains("larson: 16 threads") && chart("time.svg").contains("2.10"));
    assert!(!chart("settled.svg").contains("larson"), "rows without the figure are left out");
}

#[test]
fn what_a_run_saves_can_be_reported() {
    let folder = folder("saved");
    let saved = folder.join("run.json");
    let run = kmem_bench(&["churn", "--tiny", "--runs", "2", "--alloc", "kmem,glibc", "--save", saved.to_str().unwrap()]);
    assert!(run.status.success(), "{}", complaint(&run));
    let out = folder.join("page.md");
    let output = report(&saved, &out);
    assert!(output.status.success(), "{}", complaint(&output));
    let page = fs::read_to_string(&out).unwrap();
    for part in ["tiny: the figures mean nothing", "### churn: 10 k live, &lt; 8 KiB", "| **kmem** |", "2 per contestant and row"] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
}

#[test]
fn files_that_are_no_saved_run_are_refused_by_name() {
    let folder = folder("refused");
    let cases = [
        ("medians.json", r#"[{"bench":"churn","row":"a","alloc":"kmem","seconds":1.0,"peak_rss_bytes":1}]"#, "--save"),
        ("cut.json", r#"{"kmem_bench":1,"date":"2026"#, "EOF"),
        ("tomorrow.json", r#"{"kmem_bench":7}"#, "form 7"),
        ("none.json", "", "EOF"),
    ];
    for (name, text, part) in cases {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        let said = complaint(&report(&file, &folder.join("page.md")));
        assert!(said.contains(name) && said.contains(part), "{said}");
    }
    let said = complaint(&report(&folder.join("missing.json"), &folder.join("page.md")));
    assert!(said.contains("missing.json") && said.contains("No such file"), "{said}");
    assert!(!folder.join("page.md").exists(), "nothing is written when something is wrong");
}
