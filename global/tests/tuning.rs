//! docs/tuning.md is made from the tables that the code goes by, and is what they make.

#[path = "tuning/page.rs"]
mod page;

use kmem::slubq::{Cache, Flags, Slubq, Spec, Tunable};
use kmem_base::source::OsSource;
use kmem_testkit::child::Child;
use std::path::Path;

static SLUBQ: Slubq = Slubq::new(&OsSource);

fn cache(size: usize, flags: Flags) -> &'static Cache {
    let mut spec = Spec::new("tuned", size, 8);
    spec.flags = flags;
    SLUBQ.create(&spec).unwrap()
}

#[test]
fn the_page_on_tuning_is_what_the_tables_make() {
    // Without the environment's knobs: the page says what holds unless told otherwise.
    Child::new("the_page_on_tuning_is_what_the_tables_make").env_remove("KMEM_CONF").expect_ok(|| {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tuning.md"));
        let page = page::make(&SLUBQ);
        if std::env::var_os("KMEM_BLESS").is_some_and(|bless| bless == "1") {
            std::fs::write(path, page).unwrap();
            return;
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        let differs = found.lines().zip(page.lines()).position(|(found, made)| found != made);
        let line = differs.unwrap_or_else(|| found.lines().count().min(page.lines().count()));
        assert!(
            found == page,
            "docs/tuning.md is out of date from line {} on; run `KMEM_BLESS=1 cargo test -p kmem --test tuning`\nfound: {:?}\nmade:  {:?}",
            line + 1,
            found.lines().nth(line),
            page.lines().nth(line),
        );
    });
}

#[test]
fn tunables_accept_what_the_page_says() {
    let cache = cache(48, Flags::NO_MERGE);
    for tunable in Tunable::ALL {
        let (least, most) = page::range(tunable, cache.tunable(Tunable::CpuQueueSize));
        assert_eq!(Tunable::named(tunable.name()), Some(tunable));
        for (value, accepted) in [(least, true), (most, true), (most + 1, false), (least.wrapping_sub(1), false)] {
            let queue = cache.tunable(Tunable::CpuQueueSize);
            assert_eq!(SLUBQ.tune(cache, tunable, value).is_ok(), accepted, "{tunable:?} {value} with a queue of {queue}");
        }
        SLUBQ.tune(cache, Tunable::CpuQueueSize, 254).unwrap();
    }
}
