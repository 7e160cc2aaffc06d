//! `kmem run` from outside: what the program gets, and what comes back.

#[path = "../../malloc/tests/support/library.rs"]
mod build;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The library, built as it is shipped.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(build::build)
}

fn kmem() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmem"));
    ["KMEM_CONF", "KMEM_STATS", "LD_PRELOAD"].iter().for_each(|variable| {
        command.env_remove(variable);
    });
    command.env("KMEM_LIBRARY", library());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(arguments: &[&str]) -> Output {
    kmem().arg("run").args(arguments).output().unwrap()
}

#[test]
fn the_program_runs_on_the_library() {
    let shown = run(&["--", "cat", "/proc/self/maps"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("libkmem.so"));
    assert_eq!(text(&shown.stderr), "");
}

#[test]
fn what_was_preloaded_and_set_before_is_kept() {
    let mut command = kmem();
    command.env("LD_PRELOAD", "libc.so.6").env("KMEM_CONF", "decay_ms:7");
    let shown = command.args(["run", "--conf", "thp:off", "env"]).output().unwrap();
    let environment = text(&shown.stdout);
    let preload = format!("LD_PRELOAD={}:libc.so.6\n", library().canonicalize().unwrap().display());
    assert!(environment.contains(&preload), "{environment}");
    assert!(environment.contains("KMEM_CONF=decay_ms:7,thp:off\n"), "{environment}");
}

#[test]
fn a_knob_that_does_not_exist_is_named() {
    let told = run(&["--conf", "nix:3", "--", "sort", "/dev/null"]);
    assert!(told.status.success());
    assert!(text(&told.stderr).contains("kmem: no such knob: nix"), "{}", text(&told.stderr));
}

#[test]
fn the_exit_status_is_the_programs() {
    for stats in [&[][..], &["--stats"]] {
        let end = |program: &[&str]| run(&[stats, &["--"], program].concat()).status.code();
        assert_eq!(end(&["sh", "-c", "exit 7"]), Some(7));
        assert_eq!(end(&["/no/such/program"]), Some(127));
        assert_eq!(end(&["/dev/null"]), Some(126));
    }
    // Without statistics the command has become the program, and the signal is its own.
    assert_eq!(run(&["--stats", "--", "sh", "-c", "kill -9 $$"]).status.code(), Some(128 + 9));
}

#[test]
fn a_library_that_is_not_there_is_an_error() {
    let failed = kmem().env("KMEM_LIBRARY", "/no/such/libkmem.so").args(["run", "true"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(125));
    assert!(text(&failed.stderr).contains("/no/such/libkmem.so: No such file"), "{}", text(&failed.stderr));
    let found = kmem().arg("library").output().unwrap();
    assert_eq!(text(&found.stdout).trim(), library().canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn statistics_come_when_the_program_has_ended() {
    let told = run(&["--stats", "--", "sort", "/dev/null"]);
    let summary = text(&told.stderr);
    for part in ["== sort [", "peak resident ", "live ", "retained: queues ", "slabinfo - version: 2.1", "kmalloc-"] {
        assert!(summary.contains(part), "no {part:?} in {summary}");
    }
    assert!(text(&run(&["--stats", "--", "sh", "-c", "kill -9 $$"]).stderr).contains("no summary"));
}
