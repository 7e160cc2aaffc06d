//! Storms of short threads. `KMEM_STORM=10` makes them ten times as long: 10^5 threads.

mod common;

use common::Heap;
use kmem_base::knobs::{Knob, Settings};
use kmem_slubq::Level;
use kmem_testkit::{StressConfig, stress_or_panic};

/// Threads at a time.
const CREW: usize = 8;
/// Parts of a storm, after each of which the heap is looked at.
const PARTS: usize = 10;

/// Threads of a storm: 5000 unless `KMEM_STORM` says how many times that.
fn threads() -> usize {
    let times = std::env::var("KMEM_STORM").map_or(1, |times| times.parse().expect("KMEM_STORM is a number"));
    5000 * times
}

/// Bytes in use, or free but perhaps backed by memory.
fn footprint(heap: &Heap) -> usize {
    let pages = heap.slubq.page_stats();
    pages.used + pages.retained
}

fn live_objects(heap: &Heap) -> usize {
    let mut live = 0;
    heap.slubq.for_each_cache(|cache| live += heap.slubq.live_objects(cache));
    live
}

/// Each thread lives for a dozen operations, verifies and frees blocks of those before it, and leaves its own to the next.
fn storm(settings: &Settings) {
    let heap = Heap::new(settings);
    let mut sizes = Vec::new();
    for part in 0..PARTS {
        let lives = threads() / PARTS / CREW;
        let config = StressConfig {
            threads: CREW,
            ops_per_thread: lives * 12,
            slots: 32,
            seed: part as u64,
            pass_percent: 30,
            respawn: true,
            lives,
            ..StressConfig::default()
        };
        let report = stress_or_panic(&heap, &config);
        assert!(report.passes > lives, "blocks changed hands");
        assert_eq!(live_objects(&heap), 0);
        sizes.push((footprint(&heap), heap.slubq.retained().metadata));
    }
    // As much as a part needs, whatever the number of parts: a thread that left a cache line behind would show.
    let (first, rest) = sizes.split_first().expect("parts");
    for (at, (bytes, metadata)) in rest.iter().enumerate() {
        assert!(*bytes <= first.0 + (2 << 20), "{bytes} after part {}: {sizes:?}", at + 1);
        assert!(*metadata <= first.1 + (64 << 10), "metadata {metadata} after part {}: {sizes:?}", at + 1);
    }
    heap.slubq.trim(Level::Queues);
    let retained = heap.slubq.retained();
    assert_eq!((retained.queues, retained.depots, retained.slabs, retained.pages), (0, 0, 0, 0));
    assert!(heap.slubq.page_stats().used <= retained.metadata + (256 << 10), "only metadata is left");
    println!("{sizes:?}");
}

#[test]
fn short_threads_leave_nothing_behind() {
    storm(&Settings::new().with(Knob::ArenaMb, 1024));
}

#[test]
fn short_threads_leave_nothing_behind_in_locked_rows() {
    storm(&Settings::new().with(Knob::ArenaMb, 1024).with(Knob::PerCpu, 1));
}
