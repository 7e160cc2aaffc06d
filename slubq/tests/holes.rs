//! Memory inside partial slabs going back: what, when, and what not.

mod common;

use common::{Ends, Heap, configurations};
use kmem_base::config::PAGE_SIZE;
use kmem_base::knobs::Knob;
use kmem_base::source::{Call, Plan, os_page};
use kmem_slubq::{Cache, Flags, Level, Spec};
use kmem_testkit::{Profile, StressConfig, stress_or_panic};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

fn heap() -> Heap {
    Heap::new(&configurations()[0].1.with(Knob::DecayMs, 0))
}

fn fill(object: *mut u8, size: usize, byte: u8) {
    // SAFETY: an object that the test holds, of that size.
    unsafe { object.write_bytes(byte, size) };
}

fn holds(object: *const u8, size: usize, byte: u8) -> bool {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(object, size) }.iter().all(|&found| found == byte)
}

fn free(heap: &Heap, cache: &Cache, object: *mut u8) {
    // SAFETY: tests free what they allocated, once.
    unsafe { heap.slubq.free_object(cache, object) };
}

fn passes(heap: &Heap, count: usize) {
    for _ in 0..count {
        heap.slubq.decay();
    }
}

fn punched(cache: &Cache) -> usize {
    cache.counters().punched.load(Ordering::Relaxed) as usize
}

/// Objects of a cache, all written, of which one in `keep` stays, chosen by address; the rest is back in its slabs.
fn sparse(heap: &Heap, cache: &Cache, size: usize, keep: usize) -> Vec<*mut u8> {
    let mut objects: Vec<_> = (0..(4 << 20) / size).map(|_| heap.slubq.alloc_object(cache)).collect();
    objects.iter().for_each(|&object| fill(object, size, 0xAB));
    objects.sort_unstable();
    let kept = objects.iter().copied().step_by(keep).collect();
    objects.iter().enumerate().filter(|(at, _)| !at.is_multiple_of(keep)).for_each(|(_, &object)| free(heap, cache, object));
    heap.slubq.expire(cache, Level::Queues);
    kept
}

/// First bytes of the OS pages of the slabs that `kept` lie in; those that nothing kept reaches into.
fn os_pages(kept: &[*mut u8], size: usize) -> Vec<usize> {
    let used: BTreeSet<usize> = kept
        .iter()
        .flat_map(|object| (object.addr() / os_page()..=(object.addr() + size - 1) / os_page()).map(|at| at * os_page()))
        .collect();
    let pages: BTreeSet<usize> = kept.iter().map(|object| object.addr() / PAGE_SIZE * PAGE_SIZE).collect();
    let all = pages.iter().flat_map(|page| (*page..page + PAGE_SIZE).step_by(os_page()));
    all.filter(|at| !used.contains(at)).collect()
}

#[test]
fn pages_without_a_live_object_go_back_after_two_passes_and_nothing_else_does() {
    for size in [512, 1024, 5000, 16_000] {
        let heap = heap();
        let cache = heap.cache(&Spec::new("sparse", size, 8).with(Flags::NO_MERGE));
        let kept = sparse(&heap, cache, size, 24);
        heap.slubq.decay();
        assert_eq!(punched(cache), 0, "at rest since just now");
        heap.slubq.decay();
        let holes = os_pages(&kept, size);
        assert!(punched(cache) >= holes.len() / 2 * os_page(), "{} of {}", punched(cache), holes.len() * os_page());
        assert!(kept.iter().all(|&object| holds(object, size, 0xAB)), "{size}");
        // Free memory, which tests may look at: it is mapped, and nobody writes to it.
        let zero = holes.iter().filter(|at| holds(std::ptr::with_exposed_provenance(**at), os_page(), 0)).count();
        assert!(zero * os_page() >= holes.len() / 2 * os_page(), "{zero} of {} are zero", holes.len());
        heap.slubq.check().unwrap();
        kept.iter().for_each(|&object| free(&heap, cache, object));
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn a_slab_is_punched_once_and_again_only_when_more_of_it_is_free_or_it_was_used() {
    let heap = heap();
    let cache = heap.cache(&Spec::new("again", 1024, 8).with(Flags::NO_MERGE));
    let mut kept = sparse(&heap, cache, 1024, 16);
    let settle = || {
        let before = punched(cache);
        passes(&heap, 4);
        punched(cache) - before
    };
    assert!(settle() > 0);
    let calls = heap.source.calls();
    assert_eq!(settle(), 0);
    assert_eq!(heap.source.calls(), calls, "nothing new, nothing asked of the system");
    // Every other one of those that are left.
    let freed: Vec<_> = (0..kept.len() / 2).map(|at| kept.remove(at)).collect();
    freed.into_iter().for_each(|object| free(&heap, cache, object));
    heap.slubq.expire(cache, Level::Queues);
    assert!(settle() > 0, "more is free");
    // What was punched serves again, and is punched again.
    let more: Vec<_> = (0..2000).map(|_| heap.slubq.alloc_object(cache)).collect();
    more.iter().for_each(|&object| fill(object, 1024, 0xCD));
    assert!(more.iter().all(|&object| holds(object, 1024, 0xCD)) && kept.iter().all(|&object| holds(object, 1024, 0xAB)));
    more.into_iter().for_each(|object| free(&heap, cache, object));
    heap.slubq.expire(cache, Level::Queues);
    assert!(settle() > 0, "it was used");
    heap.slubq.check().unwrap();
    kept.into_iter().for_each(|object| free(&heap, cache, object));
    heap.destroy(cache).unwrap();
}

/// # Safety
/// The object is at least 8 bytes.
unsafe fn construct(object: *mut u8, _: *mut ()) {
    // SAFETY: the caller's.
    unsafe { object.cast::<u64>().write(0xC0FFEE) };
}

#[test]
fn free_objects_of_a_constructed_cache_keep_their_state() {
    let heap = heap();
    // SAFETY: the constructor needs no context.
    let spec = unsafe { Spec::new("stateful", 4096, 8).constructed(Some(construct), None, std::ptr::null_mut()) };
    let cache = heap.cache(&spec);
    let objects: Vec<_> = (0..400).map(|_| heap.slubq.alloc_object(cache)).collect();
    objects.iter().step_by(2).for_each(|&object| free(&heap, cache, object));
    heap.slubq.expire(cache, Level::Queues);
    passes(&heap, 4);
    assert_eq!(punched(cache), 0);
    let again: Vec<_> = (0..200).map(|_| heap.slubq.alloc_object(cache)).collect();
    // SAFETY: objects of 4096 bytes.
    assert!(again.iter().all(|object| unsafe { object.cast::<u64>().read() } == 0xC0FFEE));
    objects.iter().skip(1).step_by(2).chain(&again).for_each(|&object| free(&heap, cache, object));
    heap.destroy(cache).unwrap();
}

#[test]
fn a_system_that_takes_nothing_back_costs_nothing_but_memory() {
    let heap = heap();
    let cache = heap.cache(&Spec::new("refused", 1024, 8).with(Flags::NO_MERGE));
    heap.source.plan(Plan::Kind(Call::Purge));
    let kept = sparse(&heap, cache, 1024, 24);
    passes(&heap, 3);
    assert!(heap.source.failures() > 0 && punched(cache) == 0);
    let failures = heap.source.failures();
    passes(&heap, 3);
    assert!(heap.source.failures() - failures <= 12, "only for free runs it is asked again, once a pass each");
    heap.slubq.check().unwrap();
    assert!(kept.iter().all(|&object| holds(object, 1024, 0xAB)));
    heap.source.plan(Plan::Never);
    kept.into_iter().for_each(|object| free(&heap, cache, object));
    heap.destroy(cache).unwrap();
}

#[test]
fn slabs_are_punched_while_threads_allocate_and_free() {
    for (seed, (name, settings)) in configurations().into_iter().enumerate().step_by(2) {
        println!("{name}");
        let (heap, over) = (Heap::new(&settings), AtomicBool::new(false));
        // Beside the oracle, caches whose slabs ripen.
        let cache = heap.cache(&Spec::new("beside", 2048, 8).with(Flags::NO_MERGE));
        let kept = sparse(&heap, cache, 2048, 16);
        std::thread::scope(|scope| {
            let _over = Ends(&over);
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _busy = heap.busy.read();
                    heap.slubq.decay();
                }
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _busy = heap.busy.read();
                    let some: Vec<_> =
                        (0..300).map(|_| heap.slubq.alloc_object(cache)).filter(|object| !object.is_null()).collect();
                    some.iter().for_each(|&object| fill(object, 2048, 0xCD));
                    std::thread::yield_now();
                    assert!(some.iter().all(|&object| holds(object, 2048, 0xCD)), "handed out with holes");
                    some.into_iter().for_each(|object| free(&heap, cache, object));
                }
            });
            let config = StressConfig { threads: 3, ops_per_thread: 2000, seed: seed as u64, ..StressConfig::default() };
            stress_or_panic(&heap, &config);
            let config = StressConfig { profile: Profile::Mixed, ops_per_thread: 200, slots: 48, ..config };
            stress_or_panic(&heap, &config);
        });
        assert!(kept.iter().all(|&object| holds(object, 2048, 0xAB)), "{name}");
        assert!(punched(cache) > 0, "{name}");
        heap.slubq.check().unwrap();
        kept.into_iter().for_each(|object| free(&heap, cache, object));
    }
}
