//! The rules of C, POSIX, glibc and C++, each a small function in `tests/c`, on the library.

mod support;
use std::path::Path;
use support::Program;

macro_rules! themes {
    ($($name:ident = $source:literal;)+) => {$(
        #[test]
        fn $name() {
            if let Some(program) = Program::build($source) {
                program.holds(&[]);
            }
        }
    )+};
}

themes! {
    alignment = "alignment.c";
    basics = "basics.c";
    limits = "limits.c";
    zeroing = "zeroing.c";
    realloc = "realloc.c";
    aligned = "aligned.c";
    usable = "usable.c";
    sized = "sized.c";
    introspection = "introspect.c";
    aliases = "aliases.c";
    cxx_new = "new.cc";
    cxx_replaced = "replaced.cc";
    cxx_replaced_aligned = "replaced_aligned.cc";
    cxx_replaced_aligned_array = "replaced_aligned_array.cc";
    cxx_containers = "containers.cc";
}

/// The same rules where nothing is as usual: other paths to the same answers.
fn hold_on(conf: &str) {
    for source in ["basics.c", "realloc.c", "usable.c", "aligned.c", "zeroing.c"] {
        if let Some(program) = Program::build(source) {
            program.run().env("KMEM_CONF", conf).expect_ok();
        }
    }
}

macro_rules! configurations {
    ($($name:ident = $conf:literal;)+) => {$(
        #[test]
        fn $name() {
            hold_on($conf);
        }
    )+};
}

configurations! {
    rules_hold_with_locked_rows = "percpu:locked";
    rules_hold_without_queues = "queues:off";
    rules_hold_with_every_free_checked = "check:on";
    rules_hold_with_huge_blocks_from_128_kib = "huge_kb:128,arena_mb:4";
    rules_hold_with_a_decay_pass_every_millisecond = "decay_ms:1";
    rules_hold_without_stash_and_depot = "stash_kb:0,depot_kb:0";
}

#[test]
fn cxx_library_in_a_c_program() {
    let Some(library) = Program::build_with("throwing_library.cc", &["-shared", "-fPIC"]) else { return };
    if let Some(program) = Program::build("loads_throwing_library.c") {
        program.run().env("KMEM_LIBRARY", &library.0).expect_ok();
    }
}

/// Bound to the C library's allocator it would free there what came from here.
#[test]
fn library_that_is_bound_deeply() {
    let Some(library) = Program::build_with("deepbound_library.c", &["-shared", "-fPIC"]) else { return };
    let beside = ["-Wl,--enable-new-dtags,-rpath,$ORIGIN"];
    if let Some(program) = Program::build_with("loads_deepbound_library.c", &beside) {
        program.run().env("KMEM_LIBRARY", &library.0).expect_ok();
    }
}

#[test]
fn kmem_h_by_a_program_that_is_linked() {
    let Some(folder) = support::library().filter(|_| support::on_kmem()).and_then(Path::parent) else { return };
    let (include, folder) = (concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include"), folder.display());
    let arguments = [include, &format!("-L{folder}"), "-lkmem", &format!("-Wl,-rpath,{folder}")];
    if let Some(program) = Program::build_with("native.c", &arguments) {
        program.holds(&[]);
    }
}
