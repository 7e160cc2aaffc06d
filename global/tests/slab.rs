//! The adapter over object caches after Bonwick and Linux, as this very process's global allocator.

use kmem::{Kmem, Slab};
use kmem_testkit::child::Child;
use kmem_testkit::{GlobalSubject, Hooks, Profile, StressConfig, ops, property, run, run_or_panic, stress_or_panic};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Forks while other threads allocate, and lets the child allocate and trim.
fn fork_storm(forks: usize) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3_usize {
            let done = &done;
            scope.spawn(move || {
                let mut held = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    held.push(vec![thread as u8; 1 + held.len() * 37 % 50_000]);
                    if held.len() > 300 {
                        held.clear();
                        Slab::get().reap_tick();
                    }
                }
            });
        }
        for round in 0..forks {
            // SAFETY: the child only allocates, and leaves with `_exit`.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
            if child == 0 {
                let strings: Vec<_> = (0..2000).map(|i| "x".repeat(i % 300 + round % 7)).collect();
                let sum: usize = strings.iter().map(String::len).sum();
                drop(strings);
                ALLOCATOR.trim();
                // SAFETY: leaves at once; the other threads do not exist here.
                unsafe { libc::_exit(i32::from(sum == 0 || Slab::get().check().is_err())) };
            }
            let mut status = 0;
            // SAFETY: writes the status of a child of ours.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child of round {round} failed");
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_threaded_program_forks() {
    for conf in ["front:arrays", "front:magazines,percpu:locked"] {
        Child::new("a_threaded_program_forks").env("KMEM_CONF", conf).timeout(100).expect_ok(|| fork_storm(40));
    }
}

#[test]
fn it_works_in_256_mib_of_address_space() {
    Child::new("it_works_in_256_mib_of_address_space").address_space(256 << 20).expect_ok(|| work(3));
}
