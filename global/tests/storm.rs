//! A storm: more threads than CPUs under the oracle, each hit by signals every few microseconds and moved from CPU to CPU, while all
//! queues are drained again and again. `KMEM_STORM_SECONDS` makes it longer.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

#[path = "storm/weather.rs"]
mod weather;

use kmem::{Kmem, Slubq};
use kmem_base::percpu::Mode;
use kmem_testkit::child::Child;
use kmem_testkit::{GlobalSubject, Profile, StressConfig, stress_or_panic};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Kmem = Kmem::new();

/// How long each storm lasts.
fn duration() -> Duration {
    let seconds = std::env::var("KMEM_STORM_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// Works on the allocator in the storm until its time is over.
fn survive(threads: usize) {
    let (began, mut seed, mut allocations) = (Instant::now(), 0, 0);
    while seed == 0 || began.elapsed() < duration() {
        seed += 1;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    kmem::trim();
                }
            });
            scope.spawn(|| weather::rage(&done));
            let config = StressConfig {
                threads,
                ops_per_thread: 2000,
                seed,
                respawn: true,
                profile: Profile::Small,
                ..StressConfig::default()
            };
            allocations += stress_or_panic(&GlobalSubject::new(&ALLOCATOR), &config).allocs;
            done.store(true, Ordering::Relaxed);
        });
        // Now nothing runs.
        kmem::check().unwrap();
    }
    let counts = weather::counts();
    println!("{threads} threads, {seed} rounds, {allocations} allocations; {counts:?}");
    assert!(counts.signals > 1000 && counts.moves > 100, "{counts:?}");
    // Where a signal finds a thread inside a sequence, the kernel aborts it: without that, this would test nothing.
    assert!(Slubq::get().mode() != Mode::Restartable || counts.aborts > 0, "{counts:?}");
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

#[track_caller]
fn child(test: &str, conf: &str) -> Child {
    let inherited = std::env::var("KMEM_CONF").unwrap_or_default();
    let conf = [inherited.as_str(), conf].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(",");
    Child::new(test).env("KMEM_CONF", &conf).timeout(120 + 3 * duration().as_secs() as u32)
}

#[test]
fn nothing_is_lost_in_a_storm() {
    child("nothing_is_lost_in_a_storm", "").expect_ok(|| survive(3 * cpus() + 2));
}

#[test]
fn nothing_is_lost_where_most_threads_have_no_row() {
    child("nothing_is_lost_where_most_threads_have_no_row", "cpus:1,shards:4").expect_ok(|| survive(2 * cpus() + 1));
}
