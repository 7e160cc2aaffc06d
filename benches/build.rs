//! Tells the program which versions of the contestants it was built with, and whether snmalloc is a release build.

use std::{env, fs, path::Path};

/// Environment variable that the program reads, package in the lock file.
const VERSIONS: &[(&str, &str)] = &[
    ("KMEM_BENCH_MIMALLOC", "libmimalloc-sys"),
    ("KMEM_BENCH_JEMALLOC", "tikv-jemalloc-sys"),
    ("KMEM_BENCH_SNMALLOC", "snmalloc-sys"),
    ("KMEM_BENCH_RPMALLOC", "rpmalloc-sys"),
    ("KMEM_BENCH_TCMALLOC", "libtcmalloc-sys"),
];

fn main() {
    export_versions();
    check_snmalloc();
}

fn export_versions() {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let lock = Path::new(&root).join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(lock).unwrap_or_default();
    for (variable, package) in VERSIONS {
        let version = locked_version(&text, package).unwrap_or("unknown");
        println!("cargo::rustc-env={variable}={version}");
    }
}

fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    rest.split('"').next()
}

/// The `build_cc` build of snmalloc never defines NDEBUG by itself: without it every assertion is compiled in.
fn check_snmalloc() {
    println!("cargo::rustc-check-cfg=cfg(snmalloc_asserts)");
    println!("cargo::rerun-if-env-changed=CXXFLAGS");
    if env::var_os("CARGO_FEATURE_SNMALLOC").is_none() {
        return;
    }
    let flags = env::var("CXXFLAGS").unwrap_or_default();
    if !flags.split_whitespace().any(|flag| flag == "-DNDEBUG") {
        println!("cargo::rustc-cfg=snmalloc_asserts");
        println!("cargo::warning=snmalloc is built with its assertions: set CXXFLAGS=-DNDEBUG for a fair figure");
    }
}
