//! The examples run, and the indexer finds the same on kmem, however it is configured, as on the system's allocator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const NAMES: &[&str] = &["hello", "object_cache", "configure", "reservation", "index", "index_system"];

/// The folder of the examples' executables.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // This is <target>/<profile>/deps/<name>.
        let exe = std::env::current_exe().unwrap();
        let profile = exe.ancestors().nth(2).unwrap();
        let examples = profile.join("examples");
        // `cargo test` has built them, unless it was told to build this test alone.
        if !NAMES.iter().all(|name| is_fresh(&examples.join(name)).unwrap_or(false)) {
            build(profile);
        }
        examples
    })
}

/// True if no source that the executable was made of, by the list that cargo put beside it, is newer.
fn is_fresh(executable: &Path) -> std::io::Result<bool> {
    let list = std::fs::read_to_string(executable.with_extension("d"))?;
    let (_, sources) = list.split_once(": ").unwrap_or_default();
    let changed = |path: &Path| -> std::io::Result<SystemTime> { path.metadata()?.modified() };
    let made = changed(executable)?;
    // A path with a blank in it is not found, and everything is built anew.
    Ok(sources.split_whitespace().all(|source| changed(Path::new(source)).is_ok_and(|changed| changed <= made)))
}

fn build(profile: &Path) {
    let name = profile.file_name().and_then(|name| name.to_str()).unwrap();
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package", "kmem", "--examples"])
        .args(["--profile", if name == "debug" { "dev" } else { name }])
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .current_dir(ROOT)
        .status()
        .unwrap();
    assert!(status.success(), "the examples do not build");
}

/// What a command of sh prints; `"$0"` is the example.
fn shell(example: &str, command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).arg(built().join(example)).current_dir(ROOT).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{example}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[test]
fn hello_shows_its_caches() {
    let out = shell("hello", "\"$0\"");
    assert!(out.contains("\"THE\": 3") && out.contains("slabinfo - version: 2.1") && out.contains("\nkmalloc-"), "{out}");
}

#[test]
fn objects_are_set_up_less_often_than_used() {
    let out = shell("object_cache", "\"$0\"");
    let set_up = out.split_once("40000 sessions served, ").and_then(|(_, rest)| rest.split_once(" set up"));
    let set_up: u32 = set_up.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("{out}"));
    assert!((1..=40_000).contains(&set_up) && out.contains("1000 points"), "{out}");
}

#[test]
fn knobs_turn() {
    let out = shell("configure", "unset KMEM_CONF; \"$0\"");
    assert!(out.contains("decay_ms is 250, stash_kb is 256"), "{out}");
    assert!(out.contains("decay_ms:100: done") && out.contains("no such knob: nonesuch:1"), "{out}");
    assert!(out.contains("a table of 1 GiB under limit_mb:512: refused"), "{out}");
    let out = shell("configure", "KMEM_CONF=percpu:locked,decay_ms:50 \"$0\"");
    assert!(out.contains("Locked") && out.contains("decay_ms is 50, stash_kb is 256"), "{out}");
}

#[test]
fn reservations_keep_their_promise() {
    let out = shell("reservation", "\"$0\"");
    assert!(out.contains("[30, 20, 10, 3, 2, 1]") && out.contains("1000 objects at once"), "{out}");
}

#[test]
fn the_indexer_finds_the_same_on_every_allocator() {
    let index = "\"$0\" base slubq global testkit";
    let expected = shell("index_system", index);
    let words = expected.lines().find_map(|line| line.strip_prefix("words")).unwrap();
    assert!(words.trim().parse::<u32>().unwrap() > 1000, "{expected}");
    for set_up in ["", "KMEM_CONF=percpu:locked ", "KMEM_CONF=queues:off ", "KMEM_CONF=check:on ", "ulimit -v 262144; "] {
        assert_eq!(shell("index", &format!("{set_up}{index}")), expected, "{set_up}");
    }
}
