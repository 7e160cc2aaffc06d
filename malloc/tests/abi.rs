//! The rules of C, POSIX, glibc and C++, each a small function in `tests/c`, on the library.

mod support;
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
    cxx_containers = "containers.cc";
}

/// The same rules where nothing is as usual: other paths for the same answers.
#[test]
fn rules_hold_on_every_configuration() {
    for conf in ["percpu:locked", "queues:off", "check:on", "huge_kb:128", "decay_ms:1", "stash_kb:0,depot_kb:0"] {
        for source in ["basics.c", "limits.c", "realloc.c", "usable.c", "aligned.c", "zeroing.c"] {
            if let Some(program) = Program::build(source) {
                program.run().env("KMEM_CONF", conf).expect_ok();
            }
        }
    }
}
