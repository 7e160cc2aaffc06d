//! The adapter over object caches after Bonwick and Linux, as this very process's global allocator.

use kmem::{Kmem, Slab};
use kmem_testkit::child::Child;
use kmem_testkit::forks;
use kmem_testkit::{GlobalSubject, Hooks, Profile, StressConfig, ops, property, run, run_or_panic, stress_or_panic};
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: Kmem<Slab> = Kmem::over();

fn subject() -> GlobalSubject<'static, Kmem<Slab>> {
    GlobalSubject::new(&ALLOCATOR).with_hooks(Hooks {
        trim: Some(Box::new(|| {
            Slab::get().reap_tick();
        })),
        drain: Some(Box::new(|| {
            ALLOCATOR.trim();
        })),
        ..Hooks::default()
    })
}

fn work(seed: u64) {
    for (profile, n) in [(Profile::Small, 10_000), (Profile::Mixed, 3000), (Profile::Large, 200)] {
        run_or_panic(&subject(), &ops(seed, n, profile));
    }
    let config =
        StressConfig { threads: 5, ops_per_thread: 8000, pass_percent: 40, respawn: true, seed, ..StressConfig::default() };
    stress_or_panic(&subject(), &config);
    let maps: Vec<BTreeMap<String, Vec<usize>>> =
        (0..20).map(|round| (0..200).map(|i| (format!("{round}-{i}"), vec![i; i])).collect()).collect();
    assert!(maps.iter().flatten().all(|(_, list)| list.iter().all(|i| *i == list.len())));
    drop(maps);
    ALLOCATOR.trim();
}

#[test]
fn random_layouts_and_threads_under_the_oracle() {
    work(1);
    property(Profile::Mixed, 12, |ops| run(&subject(), ops));
    Slab::get().check().unwrap();
}

#[test]
fn the_same_with_magazines_locked_rows_nodes_and_checks() {
    for conf in ["front:magazines", "percpu:locked", "nodes:4,cpus:16", "queues:off", "check:on"] {
        Child::new("the_same_with_magazines_locked_rows_nodes_and_checks").env("KMEM_CONF", conf).timeout(100).expect_ok(|| {
            work(2);
            Slab::get().check().unwrap();
        });
    }
}

/// In a child, what other threads had in hand is lost, and nothing else.
fn fork_storm() {
    let trim = || {
        Slab::get().reap_tick();
        ALLOCATOR.trim();
    };
    forks::storm(40, &trim, &|| Slab::get().check().is_ok());
}

#[test]
fn a_threaded_program_forks() {
    for conf in ["front:arrays", "front:magazines,percpu:locked"] {
        Child::new("a_threaded_program_forks").env("KMEM_CONF", conf).timeout(100).expect_ok(fork_storm);
    }
}

#[test]
fn it_works_in_256_mib_of_address_space() {
    Child::new("it_works_in_256_mib_of_address_space").address_space(256 << 20).expect_ok(|| work(3));
}
