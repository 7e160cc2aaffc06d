//! Partial slabs and their shards, object by object: no queues, four made-up CPUs, a shard each.

mod common;

use common::{Heap, alloc_many, free_all, read};
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_base::sync::Ordering;
use kmem_slubq::{Cache, CreateError, Flags, Spec, Tunable};

/// Objects of 1 KiB: as many to a slab.
const SLAB: usize = 64;

fn four_shards() -> Heap {
    on_cpu(Some(0));
    let none = Settings::new().with(Knob::Queues, 0).with(Knob::DecayMs, 0).with(Knob::PerCpu, 1);
    Heap::new(&none.with(Knob::ArenaMb, 64).with(Knob::Cpus, 4).with(Knob::Shards, 4).with(Knob::Nodes, 1))
}

fn cache_with(heap: &Heap, flags: Flags) -> &'static Cache {
    let cache = heap.cache(&Spec::new("sharded", 1024, 8).with(Flags::NO_MERGE | flags));
    assert_eq!(cache.geometry().objects as usize, SLAB);
    cache
}

fn cache(heap: &Heap) -> &'static Cache {
    cache_with(heap, Flags::NONE)
}

fn home(heap: &Heap, object: *mut u8) -> u8 {
    heap.slubq.pages().head_of(object.addr()).unwrap().home.load(Ordering::Relaxed)
}

fn slabs(heap: &Heap, cache: &Cache) -> usize {
    heap.slubq.cache_info(cache).slabs
}

/// Theory 6.4: with less than a quarter free, a new slab is the better start.
#[test]
fn a_slab_is_taken_over_if_a_quarter_of_it_is_free() {
    let heap = four_shards();
    let cache = cache(&heap);
    let steals = || read(&cache.counters().steal);
    let mut first = alloc_many(&heap, cache, SLAB);
    free_all(&heap, cache, first.drain(..SLAB / 4 - 1));
    on_cpu(Some(1));
    let own = alloc_many(&heap, cache, 1);
    assert_eq!((steals(), slabs(&heap, cache), home(&heap, own[0])), (0, 2, 1), "less than a quarter");
    free_all(&heap, cache, own);
    free_all(&heap, cache, first.drain(..1));
    on_cpu(Some(3));
    let taken = alloc_many(&heap, cache, 1);
    assert_eq!((steals(), slabs(&heap, cache)), (1, 2), "a quarter, and shard 0 is next to 3");
    assert_eq!((home(&heap, taken[0]), home(&heap, first[0])), (3, 3), "with the objects that are in use");
    heap.slubq.check().unwrap();
    // What comes back goes to the new home.
    on_cpu(Some(0));
    free_all(&heap, cache, taken.into_iter().chain(first));
    heap.slubq.check().unwrap();
    assert_eq!(heap.slubq.live_objects(cache), 0);
    heap.destroy(cache).unwrap();
}

#[test]
fn what_must_not_wait_takes_from_any_shard_and_moves_nothing() {
    let heap = four_shards();
    let cache = cache(&heap);
    let mut objects: Vec<_> = (0..3)
        .flat_map(|cpu| {
            on_cpu(Some(cpu));
            alloc_many(&heap, cache, SLAB)
        })
        .collect();
    assert_eq!(slabs(&heap, cache), 3);
    // Ten free in each.
    for at in (0..3).rev() {
        free_all(&heap, cache, objects.drain(at * SLAB..at * SLAB + 10));
    }
    on_cpu(Some(1));
    let homes: Vec<_> = (0..30)
        .map(|_| {
            let object = heap.slubq.alloc_nowait(cache);
            assert!(!object.is_null());
            objects.push(object);
            home(&heap, object)
        })
        .collect();
    assert_eq!(homes, [[1; 10], [2; 10], [0; 10]].concat(), "the own shard first, then the next ones");
    let failed = read(&cache.counters().failed);
    assert!(heap.slubq.alloc_nowait(cache).is_null(), "nothing is made");
    assert_eq!((read(&cache.counters().failed), read(&cache.counters().steal)), (failed + 1, 0));
    assert_eq!((read(&cache.counters().new_slab), slabs(&heap, cache)), (3, 3));
    heap.slubq.check().unwrap();
    free_all(&heap, cache, objects);
}

#[test]
fn empty_slabs_are_kept_as_long_as_there_are_few_partial_ones() {
    for (flags, tuned, kept) in
        [(Flags::NONE, None, 2), (Flags::LOWMEM, None, 0), (Flags::NONE, Some(4), 4), (Flags::NONE, Some(0), 0)]
    {
        let heap = four_shards();
        let cache = cache_with(&heap, flags);
        if let Some(least) = tuned {
            heap.slubq.tune(cache, Tunable::MinPartial, least).unwrap();
        }
        let objects = alloc_many(&heap, cache, 6 * SLAB);
        assert_eq!(slabs(&heap, cache), 6);
        free_all(&heap, cache, objects);
        assert_eq!((slabs(&heap, cache), read(&cache.counters().free_slab_pages)), (kept, 6 - kept as u64), "{tuned:?}");
        let info = heap.slubq.cache_info(cache);
        assert_eq!((info.free, info.partial), (kept * SLAB, kept));
        assert_eq!(heap.slubq.page_stats().used >> 16, kept + 4, "and a chunk of metadata");
        heap.slubq.check().unwrap();
    }
}

/// Theory 2.3: a slab without a free object is on no list.
#[test]
fn only_partial_slabs_are_listed() {
    let heap = four_shards();
    let cache = cache(&heap);
    let mut objects = vec![std::ptr::null_mut(); 3 * SLAB];
    // A word of bits at a time: whole slabs, straight from being made.
    for part in objects.chunks_mut(SLAB) {
        assert_eq!(heap.slubq.alloc_bulk(cache, part), SLAB);
        assert_eq!(heap.slubq.cache_info(cache).partial, 0);
    }
    free_all(&heap, cache, [objects[0], objects[SLAB], objects[SLAB + 1]]);
    let info = heap.slubq.cache_info(cache);
    assert_eq!((info.partial, info.free, info.slabs), (2, 3, 3));
    let again = alloc_many(&heap, cache, 3);
    assert_eq!(heap.slubq.cache_info(cache).partial, 0);
    free_all(&heap, cache, again.into_iter().chain(objects[1..SLAB].iter().copied()).chain(objects[SLAB + 2..].iter().copied()));
    assert_eq!(heap.slubq.live_objects(cache), 0);
    heap.destroy(cache).unwrap();
}

/// Theory 6.5: down to `min_partial` where a shard was touched since the last pass, all of them otherwise.
#[test]
fn decay_keeps_some_empty_slabs_of_a_cache_in_use() {
    on_cpu(Some(0));
    let settings = Settings::new().with(Knob::DecayMs, 0).with(Knob::PerCpu, 1).with(Knob::Cpus, 4).with(Knob::Shards, 1);
    let heap = Heap::new(&settings.with(Knob::StashKb, 0).with(Knob::DepotKb, 0).with(Knob::ArenaMb, 64));
    let cache = cache(&heap);
    heap.slubq.tune(cache, Tunable::MinPartial, 5).unwrap();
    let objects = alloc_many(&heap, cache, 12 * SLAB);
    heap.slubq.decay();
    let more = alloc_many(&heap, cache, 2 * SLAB);
    free_all(&heap, cache, objects.into_iter().chain(more));
    heap.slubq.tune(cache, Tunable::MinPartial, 3).unwrap();
    assert!(slabs(&heap, cache) > 3);
    heap.slubq.decay();
    // The queues' objects are in slabs that are not empty.
    let kept = slabs(&heap, cache);
    assert!((3..=7).contains(&kept), "{kept} slabs of a cache that was just used");
    heap.slubq.decay();
    heap.slubq.decay();
    assert_eq!(slabs(&heap, cache), 0, "nobody has used it since");
}

#[test]
fn slots_are_used_again_when_no_other_is_left_oldest_first() {
    let heap = four_shards();
    let one = Spec::new("one of many", 8, 8).with(Flags::NO_MERGE);
    let first = heap.cache(&one);
    heap.destroy(first).unwrap();
    let mut caches = Vec::new();
    loop {
        match heap.slubq.create(&one) {
            Ok(cache) => caches.push(cache),
            Err(error) => {
                assert_eq!(error, CreateError::TooMany);
                break;
            }
        }
    }
    let slots = |caches: &[&Cache]| caches.iter().map(|cache| cache.slot().index()).collect::<Vec<_>>();
    let all = slots(&caches);
    assert_eq!(all.len(), 1024 - 80);
    assert_eq!(*all.last().unwrap(), first.slot().index(), "the one that was free for long comes last");
    assert!(all[..all.len() - 1].windows(2).all(|pair| pair[0] + 1 == pair[1]));
    for round in 0..3 {
        let gone = [caches.swap_remove(500), caches.swap_remove(7 + round), caches.swap_remove(300)];
        let freed = slots(&gone);
        gone.into_iter().for_each(|cache| heap.destroy(cache).unwrap());
        let made: Vec<_> = (0..3).map(|_| heap.cache(&one)).collect();
        assert_eq!(slots(&made), freed, "oldest first");
        assert_eq!(heap.slubq.create(&one).err(), Some(CreateError::TooMany));
        caches.extend(made);
    }
    heap.slubq.check().unwrap();
}

/// Theory 6.4: a small object of another CPU's slab does not begin a queue, but who frees many of them gets one.
#[test]
fn who_frees_only_what_others_allocated_gets_a_queue() {
    on_cpu(Some(0));
    let four = Settings::new().with(Knob::DecayMs, 0).with(Knob::PerCpu, 1).with(Knob::ArenaMb, 64);
    let heap = Heap::new(&four.with(Knob::Cpus, 4).with(Knob::Shards, 4).with(Knob::Nodes, 1));
    let cache = heap.cache(&Spec::new("small", 32, 8).with(Flags::NO_MERGE));
    let objects = alloc_many(&heap, cache, 2000);
    on_cpu(Some(1));
    free_all(&heap, cache, objects[..10].iter().copied());
    assert_eq!((read(&cache.counters().free_direct), read(&cache.counters().free_slowpath)), (10, 10), "home");
    free_all(&heap, cache, objects[10..].iter().copied());
    assert!(read(&cache.counters().free_direct) < 40 && read(&cache.counters().free_slowpath) < 100, "into a queue");
    on_cpu(None);
    heap.slubq.check().unwrap();
}
