//! Random operations under the oracle, on every configuration.

mod common;

use common::{Heap, configurations};
use kmem_slab::Flags;
use kmem_testkit::{Profile, StressConfig, ops, property, run, run_or_panic, stress_or_panic};

#[test]
fn every_configuration_serves_random_operations() {
    for (name, settings) in configurations() {
        println!("{name}");
        let heap = Heap::new(&settings);
        for (seed, profile) in [(1, Profile::Small), (2, Profile::Mixed), (3, Profile::Large)] {
            let n = if profile == Profile::Large { 300 } else { 4000 };
            run_or_panic(&heap, &ops(seed, n, profile));
        }
    }
}

#[test]
fn properties_hold_for_sequences_that_shrink() {
    for magazines in [false, true] {
        let heap = Heap::with_front(magazines);
        property(Profile::Small, 24, |ops| run(&heap, ops));
        property(Profile::Mixed, 12, |ops| run(&heap, ops));
    }
}

#[test]
fn caches_of_every_kind_serve_random_operations() {
    let kinds = [
        Flags::NONE,
        Flags::TYPESAFE,
        Flags::HWCACHE_ALIGN | Flags::RECLAIM_ACCOUNT,
        Flags::RED_ZONE | Flags::STORE_USER,
        Flags::DEBUG,
    ];
    for magazines in [false, true] {
        let heap = Heap::with_front(magazines);
        for flags in kinds {
            for size in [8, 24, 100, 256, 1000, 4096, 20_000] {
                let cache = heap.cache(size, flags);
                run_or_panic(&heap.subject(cache), &ops(size as u64, 600, Profile::Small));
                assert!(heap.slab.verify(cache).is_ok());
                heap.destroy(cache).unwrap();
            }
        }
    }
}

#[test]
fn every_configuration_survives_threads() {
    for (at, (name, settings)) in configurations().into_iter().enumerate() {
        println!("{name}");
        let heap = Heap::new(&settings);
        let seed = 100 + at as u64;
        let config = StressConfig { threads: 4, ops_per_thread: 12_000, seed, respawn: true, ..StressConfig::default() };
        stress_or_panic(&heap, &config);
        let config = StressConfig { threads: 3, ops_per_thread: 1000, slots: 48, profile: Profile::Mixed, seed, ..config };
        stress_or_panic(&heap, &config);
    }
}

#[test]
fn more_threads_than_cpus_pass_objects_of_one_cache_around() {
    for magazines in [false, true] {
        let heap = Heap::with_front(magazines);
        let cache = heap.cache(64, Flags::NONE);
        let config = StressConfig { threads: 16, ops_per_thread: 6000, pass_percent: 60, seed: 7, ..StressConfig::default() };
        stress_or_panic(&heap.subject(cache), &config);
        assert_eq!(heap.slab.live_objects(cache), 0);
        heap.destroy(cache).unwrap();
    }
}
