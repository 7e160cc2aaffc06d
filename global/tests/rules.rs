//! Rules that the sources keep and no compiler checks: one seam for threads, nothing that panics, formats or allocates, files of a
//! size that can be read, nothing left undone.

#[path = "rules/scan.rs"]
mod scan;

use scan::Source;
use std::path::{Path, PathBuf};

/// Folders of the product, those to come included.
const PRODUCT: &[&str] = &["base", "slab", "slubq", "slob", "zalloc", "global", "malloc"];
/// Lines that a file of the product may have.
const LINES: usize = 600;
/// Macros and methods that panic, format or print.
const FORBIDDEN: &[&str] = &[
    "panic!",
    "todo!",
    "unimplemented!",
    "unreachable!",
    "println!",
    "print!",
    "eprintln!",
    "eprint!",
    "dbg!",
    "format!",
    "vec!",
    ".unwrap()",
    ".unwrap_err()",
    ".expect(",
    ".expect_err(",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The sources of the product, without what is compiled for tests only.
fn product() -> Vec<Source> {
    let sources: Vec<_> = PRODUCT.iter().flat_map(|folder| scan::sources(&root().join(folder).join("src"))).collect();
    assert!(sources.len() > 20, "found the sources");
    sources
}

/// The seam: what threads share, and loom, is the business of this folder alone.
fn is_seam(path: &Path) -> bool {
    path.starts_with(root().join("base/src/sync"))
}

/// The keyed store and the cache, whose indices are of the global allocator, and refused if it refuses; and the list that they are in.
fn is_above_the_pool(path: &Path) -> bool {
    ["zalloc/src/tmem", "zalloc/src/cache", "zalloc/src/lib.rs"].iter().any(|part| path.starts_with(root().join(part)))
}

/// Fails with every line of `sources` that `offends`.
fn refuse(rule: &str, sources: &[Source], offends: impl Fn(&Source, usize, &str) -> bool) {
    let root = root();
    let mut found = String::new();
    for source in sources {
        for (number, line) in source.code.lines().enumerate() {
            if offends(source, number, line) {
                let path = source.path.strip_prefix(&root).unwrap_or(&source.path).display();
                found += &format!("\n  {path}:{}: {}", number + 1, line.trim());
            }
        }
    }
    assert!(found.is_empty(), "{rule}:{found}");
}

#[test]
fn atomics_come_from_the_seam() {
    refuse("atomics, locks and threads come from kmem_base::sync", &product(), |source, _, line| {
        !is_seam(&source.path) && ["sync::atomic", "std::sync", "core::sync", "std::thread"].iter().any(|path| line.contains(path))
    });
}

#[test]
fn loom_is_known_to_the_seam_only() {
    refuse("loom belongs to base/src/sync, lists of modules, and tests", &product(), |source, number, line| {
        scan::has_word(line, "loom") && !is_seam(&source.path) && !in_module_list(source, number)
    });
}

/// True for an attribute in a `lib.rs` or `mod.rs` that says whether a module is there, or what it offers.
fn in_module_list(source: &Source, number: usize) -> bool {
    let is_list = source.path.ends_with("lib.rs") || source.path.ends_with("mod.rs");
    let mut rest = source.code.lines().skip(number).skip_while(|line| line.trim_start().starts_with("#["));
    let item = rest.next().unwrap_or("").trim_start();
    let bare = ["pub(crate) ", "pub(super) ", "pub "].iter().find_map(|visible| item.strip_prefix(visible)).unwrap_or(item);
    is_list && (bare.starts_with("mod ") || bare.starts_with("use "))
}

#[test]
fn nothing_panics_formats_or_allocates() {
    refuse("no path of the product panics, formats or prints", &product(), |_, _, line| {
        FORBIDDEN.iter().any(|word| scan::has_start(line, word))
    });
    // Without `std` and `alloc`, nothing can reach the global allocator.
    refuse("the product is no_std", &product(), |source, _, line| {
        line.contains("extern crate") && !is_above_the_pool(&source.path)
    });
    refuse("std is for the layers of zalloc above its pool", &product(), |source, _, line| {
        source.path.starts_with(root().join("zalloc")) && scan::has_start(line, "std::") && !is_above_the_pool(&source.path)
    });
    for source in product().iter().filter(|source| source.path.ends_with("src/lib.rs")) {
        // The C library ships without unwinding; with it, as `cargo test` builds it, a library needs what `std` links.
        let attribute = source.code.lines().find(|line| line.starts_with("#![") && scan::has_word(line, "no_std"));
        let unconditional = attribute.is_some_and(|line| line == "#![no_std]" || source.path.starts_with(root().join("malloc")));
        assert!(unconditional, "{} is not no_std", source.path.display());
    }
}

#[test]
fn files_can_be_read_at_a_sitting() {
    for folder in PRODUCT {
        for path in scan::files(&root().join(folder).join("src")) {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= LINES, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn nothing_is_left_undone() {
    let sources: Vec<_> = scan::files(&root()).into_iter().map(|path| Source::whole(&path)).collect();
    refuse("nothing is left for later", &sources, |_, _, line| {
        scan::has_start(line, "todo!") || scan::has_start(line, "unimplemented!") || line.contains("#[ignore")
    });
}

#[test]
fn the_scan_sees_code_only() {
    let text = r##"
        /* panic! /* nested */ */ let s = "panic!\" // no"; // panic!
        let r = r#"panic!" "#; let c = '"'; let l: &'static str = b"x"; code();
        #[cfg(all(test, loom))]
        mod models;
        #[cfg(test)]
        #[allow(dead_code)]
        mod tests { fn f() { panic!("}") } }
        #[cfg(not(test))]
        fn kept() {}
    "##;
    let (code, files) = scan::without_tests(&scan::strip(text));
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!code.contains("panic!") && !code.contains("models") && !code.contains("tests"), "{code}");
    assert!(code.contains("code();") && code.contains("&'static str") && code.contains("fn kept"), "{code}");
    assert_eq!(files, ["models"]);
    assert!(scan::has_word("cfg(loom)", "loom") && !scan::has_word("bloom", "loom"));
    assert!(scan::has_start("x.unwrap()", ".unwrap()") && !scan::has_start("eprintln!()", "println!"));
}
