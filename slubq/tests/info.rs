//! What the allocator says about itself, and that it notices damage. One CPU, locked rows: every number is exact.

mod common;

use common::{Heap, alloc_many, free_all, read};
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_base::sync::Ordering;
use kmem_slubq::{Broken, Cache, CreateError, Flags, Level, Spec, Tunable, TuneError};

/// Objects of 64 bytes: sheaves of 127, of which the stash holds one and the depot two.
const SHEAF: usize = 127;

fn exact() -> Heap {
    on_cpu(Some(0));
    let few = Settings::new().with(Knob::StashKb, 8).with(Knob::DepotKb, 16).with(Knob::DecayMs, 0);
    Heap::new(&few.with(Knob::PerCpu, 1).with(Knob::ArenaMb, 64).with(Knob::Cpus, 2).with(Knob::Shards, 2))
}

fn cache(heap: &Heap) -> &'static Cache {
    heap.cache(&Spec::new("exact", 64, 8).with(Flags::NO_MERGE))
}

/// Main sheaf, spare, stash, depot, slabs: in this order on the way back, and in this order when they are needed.
#[test]
fn sheaves_go_where_theory_3_says() {
    let heap = exact();
    let cache = cache(&heap);
    let per_slab = cache.geometry().objects as usize;
    let objects = alloc_many(&heap, cache, per_slab + 2 * SHEAF);
    // A first batch of 16 for a shard that nobody used, then sheaf by sheaf, the last of a slab shorter but more than half of one.
    assert!((per_slab - 16) % SHEAF * 2 >= SHEAF);
    let batches = 1 + (per_slab - 16).div_ceil(SHEAF) as u64 + 2;
    assert_eq!((read(&cache.counters().alloc_slab), read(&cache.counters().alloc_slowpath)), (batches, batches));
    assert_eq!((read(&cache.counters().new_slab), read(&cache.counters().steal), read(&cache.counters().alloc_direct)), (2, 0, 0));
    assert_eq!(heap.slubq.cache_info(cache).queued, 0);

    let total = objects.len();
    free_all(&heap, cache, objects);
    let info = heap.slubq.cache_info(cache);
    let (slow, slab) = (read(&cache.counters().free_slowpath), read(&cache.counters().free_slab));
    assert_eq!((read(&cache.counters().free_shared), info.shared), (2, 2 * SHEAF), "the depot is full");
    assert_eq!(info.queued + info.shared + slab as usize * SHEAF, total, "what had no place went to the slabs, whole sheaves");
    assert!((2 * SHEAF..=3 * SHEAF).contains(&info.queued), "main, spare and one in the stash: {info:?}");
    assert!(slow <= 2 * batches, "{slow} slow paths, two per sheaf at most");
    assert_eq!((read(&cache.counters().free_direct), read(&cache.counters().failed)), (0, 0));
    assert_eq!(heap.slubq.live_objects(cache), 0);

    let (queued, before) = (info.queued, read(&cache.counters().alloc_slab));
    let again = alloc_many(&heap, cache, queued + 2 * SHEAF);
    assert_eq!((read(&cache.counters().alloc_stash), read(&cache.counters().alloc_shared)), (1, 2));
    assert!(read(&cache.counters().alloc_spare) >= 1);
    assert_eq!(read(&cache.counters().alloc_slab), before, "queues, stash and depot first");
    let info = heap.slubq.cache_info(cache);
    assert_eq!((info.queued, info.shared), (0, 0));
    free_all(&heap, cache, again);
    let empty = heap.slubq.cache_info(cache).slabs;
    heap.slubq.shrink(cache);
    assert_eq!(heap.slubq.cache_info(cache), kmem_slubq::CacheInfo::default());
    assert!(read(&cache.counters().free_slab_pages) >= empty as u64);
}

/// Theory 2.4: without a stash or depot, main and spare sheaf take all that fits in them before anything goes to the slabs.
#[test]
fn nothing_goes_to_the_slabs_while_main_or_spare_has_room() {
    on_cpu(Some(0));
    let none = Settings::new().with(Knob::StashKb, 0).with(Knob::DepotKb, 0).with(Knob::DecayMs, 0);
    let heap = Heap::new(&none.with(Knob::PerCpu, 1).with(Knob::ArenaMb, 64).with(Knob::Cpus, 2));
    let cache = cache(&heap);
    let mut held = alloc_many(&heap, cache, cache.geometry().objects as usize);
    let mut queued = heap.slubq.cache_info(cache).queued;
    assert_eq!(queued, 0);
    // Frees and allocations in turn. Main and spare then hold: 127 and 127, 62 and 0, 64 and 64, 127 and 64, 65 and 127.
    for step in [254, -192, 66, 63, 1, 62, -254, 254] {
        if step > 0 {
            free_all(&heap, cache, held.drain(..step as usize));
        } else {
            held.extend(alloc_many(&heap, cache, -step as usize));
        }
        queued = queued.checked_add_signed(step).expect("as many as there were");
        assert_eq!(heap.slubq.cache_info(cache).queued, queued, "after {step}");
        assert_eq!((read(&cache.counters().free_slab), read(&cache.counters().free_direct)), (0, 0), "after {step}");
    }
    heap.slubq.check().unwrap();
    free_all(&heap, cache, held);
}

#[test]
fn each_level_gives_up_what_it_says() {
    let heap = exact();
    let cache = cache(&heap);
    let objects = alloc_many(&heap, cache, 16 + 10 * SHEAF);
    free_all(&heap, cache, objects);
    let full = heap.slubq.cache_info(cache);
    heap.slubq.expire(cache, Level::Slabs);
    let slabs = heap.slubq.cache_info(cache);
    assert_eq!((slabs.queued, slabs.shared), (full.queued, full.shared));
    heap.slubq.expire(cache, Level::Shared);
    let shared = heap.slubq.cache_info(cache);
    assert_eq!((shared.queued, shared.shared), (full.queued, 0));
    let before = shared.slabs;
    assert_eq!(heap.slubq.expire(cache, Level::Queues), before, "a page per slab");
    assert_eq!(heap.slubq.cache_info(cache).objects, 0);
    let free = heap.slubq.retained().pages;
    assert!(free >= before << 16 && free == heap.slubq.page_stats().retained);
    assert_eq!(heap.slubq.trim(Level::Slabs), free, "pages go back to the system");
    assert_eq!(heap.slubq.trim(Level::Queues), 0, "once");
}

#[test]
fn a_trim_takes_from_queues_only_if_told_to() {
    let heap = exact();
    let cache = cache(&heap);
    let objects = alloc_many(&heap, cache, 50);
    free_all(&heap, cache, objects);
    let queued = heap.slubq.cache_info(cache).queued;
    assert!(queued >= 50);
    for (level, left) in [(Level::Slabs, queued), (Level::Shared, queued), (Level::Queues, 0)] {
        heap.slubq.trim(level);
        assert_eq!(heap.slubq.cache_info(cache).queued, left, "{level:?}");
    }
}

/// Sheaves of another length than the queue's are of no use to anybody.
#[test]
fn a_queue_that_is_tuned_leaves_nothing_of_the_old_length_behind() {
    let heap = exact();
    let cache = cache(&heap);
    for queue in [20, 0, 254] {
        heap.slubq.tune(cache, Tunable::CpuQueueSize, 254).unwrap();
        let objects = alloc_many(&heap, cache, 16 + 10 * SHEAF);
        free_all(&heap, cache, objects);
        let full = heap.slubq.cache_info(cache);
        assert!(full.queued > 0 && full.shared > 0, "{full:?}");
        heap.slubq.tune(cache, Tunable::CpuQueueSize, queue).unwrap();
        let info = heap.slubq.cache_info(cache);
        assert_eq!((info.queued, info.shared, info.free), (0, 0, info.objects), "{queue}");
        heap.slubq.check().unwrap();
    }
}

#[test]
fn slabinfo_and_retained_say_what_is_there() {
    let heap = exact();
    let cache = cache(&heap);
    let objects = alloc_many(&heap, cache, 16 + 6 * SHEAF);
    free_all(&heap, cache, objects[100..].iter().copied());
    let info = heap.slubq.cache_info(cache);
    let mut text = String::new();
    heap.slubq.write_slabinfo(&mut text).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("slabinfo - version: 2.1"));
    assert!(lines.next().is_some_and(|line| line.starts_with("# name ")));
    let row: Vec<_> = lines.next().expect("one cache").split_whitespace().filter(|word| *word != ":").collect();
    let geometry = cache.geometry();
    let numbers = [100, info.objects, 64, geometry.objects as usize, 1];
    let expected: Vec<_> = numbers.iter().map(usize::to_string).collect();
    assert_eq!((row[0], &row[1..6]), ("exact", &expected[..].iter().map(String::as_str).collect::<Vec<_>>()[..]));
    assert_eq!(row[6..10], ["tunables", "254", "127", "2"]);
    let slabs = info.slabs.to_string();
    assert_eq!(row[10..], ["slabdata", &slabs, &slabs, &info.shared.to_string()]);
    assert_eq!(lines.next(), None);
    let retained = heap.slubq.retained();
    assert_eq!((retained.queues, retained.depots, retained.slabs), (info.queued * 64, info.shared * 64, info.free * 64));
    assert_eq!(info.objects, info.slabs * geometry.objects as usize);
    assert_eq!(info.free + info.queued + info.shared + 100, info.objects);
    let (pages, metadata) = (heap.slubq.page_stats(), retained.metadata);
    assert_eq!(retained.pages, pages.retained);
    assert!((1..=pages.used).contains(&metadata) && pages.used >= info.slabs << 16);
    free_all(&heap, cache, objects[..100].iter().copied());
}

#[test]
fn damage_is_noticed() {
    let heap = exact();
    let cache = cache(&heap);
    let objects = alloc_many(&heap, cache, 50);
    heap.slubq.check().unwrap();
    let page = heap.slubq.pages().head_of(objects[0].addr()).unwrap();
    let broken = |cause: Broken| {
        assert_eq!(heap.slubq.check_cache(cache), Err(cause));
        assert_eq!(heap.slubq.check(), Err(cause));
    };
    let home = page.home.load(Ordering::Relaxed);
    page.home.store(home ^ 1, Ordering::Relaxed);
    broken(Broken::Listed);
    page.home.store(home, Ordering::Relaxed);
    let owner = page.owner();
    page.set_owner(std::ptr::null_mut());
    broken(Broken::Listed);
    page.set_owner(owner);
    page.state.store(page.state.load(Ordering::Relaxed) ^ 1, Ordering::Relaxed);
    broken(Broken::Listed);
    page.state.store(page.state.load(Ordering::Relaxed) ^ 1, Ordering::Relaxed);
    // Four states a step: fewer free than none, more than all, one less than there are.
    let state = page.state.load(Ordering::Relaxed);
    for free in [-1_i32, cache.geometry().objects as i32 + 1] {
        page.state.store((free << 2) as u32 | 1, Ordering::Relaxed);
        broken(Broken::Listed);
    }
    page.state.store(state - 4, Ordering::Relaxed);
    broken(Broken::Bits);
    page.state.store(state, Ordering::Relaxed);
    let bits = page.bits[0].swap(0, Ordering::Relaxed);
    broken(Broken::Bits);
    page.bits[0].store(bits, Ordering::Relaxed);
    heap.slubq.check().unwrap();
    let first = objects[0];
    free_all(&heap, cache, objects);
    // Freed twice, it is in the queue twice: more objects are about than there are.
    free_all(&heap, cache, [first]);
    broken(Broken::Conservation);
    assert_eq!(heap.slubq.alloc_object(cache), first);
    heap.slubq.check().unwrap();
    for cause in [Broken::Pages, Broken::List, Broken::Listed, Broken::Bits, Broken::Conservation] {
        assert!(cause.to_string().contains(": "), "{cause}");
    }
}

#[test]
fn tunables_take_their_ranges_to_the_last_value() {
    let heap = exact();
    let cache = cache(&heap);
    let tune = |tunable, value| heap.slubq.tune(cache, tunable, value);
    for (tunable, most) in [
        (Tunable::SharedQueueSize, 1_000_000),
        (Tunable::MinPartial, 1000),
        (Tunable::BatchSize, 127),
        (Tunable::CpuQueueSize, 10_000),
    ] {
        assert_eq!((tune(tunable, most), cache.tunable(tunable)), (Ok(()), most), "{tunable:?}");
        assert_eq!((tune(tunable, most + 1), cache.tunable(tunable)), (Err(TuneError::Value), most));
    }
    // Batches of half the queue, rounded up; at least one.
    for (queue, batch) in [(10_000, 5000), (7, 4), (1, 1), (0, 1)] {
        assert_eq!(tune(Tunable::CpuQueueSize, queue), Ok(()));
        assert_eq!((cache.tunable(Tunable::CpuQueueSize), cache.tunable(Tunable::BatchSize)), (queue, batch));
        assert_eq!(tune(Tunable::BatchSize, batch + 1), Err(TuneError::Value));
        let objects = alloc_many(&heap, cache, 40);
        free_all(&heap, cache, objects);
        assert!(heap.slubq.cache_info(cache).queued <= (queue as usize).next_multiple_of(2) + 63 * batch as usize);
        heap.slubq.check().unwrap();
    }
}

#[test]
fn queues_are_as_long_as_theory_6_1_says() {
    let heap = exact();
    let sizes =
        [(256, 254), (264, 126), (1024, 126), (1032, 62), (4096, 62), (4104, 30), (8192, 30), (8200, 14), (32768, 14), (32776, 6)];
    for (size, queue) in sizes {
        let cache = heap.cache(&Spec::new("sized", size, 8).with(Flags::NO_MERGE));
        assert_eq!((cache.tunable(Tunable::CpuQueueSize), cache.tunable(Tunable::BatchSize)), (queue, queue / 2), "{size}");
        assert_eq!(cache.tunable(Tunable::SharedQueueSize) as usize, (16 << 10) / size);
        assert_eq!(cache.tunable(Tunable::MinPartial), if cache.geometry().pages == 1 { 2 } else { 1 });
    }
}

#[test]
fn names_are_cut_where_a_character_ends() {
    let heap = exact();
    for (name, kept) in [
        ("", ""),
        ("short", "short"),
        ("a name of thirty-one characters", "a name of thirty-one characters"),
        ("a name of thirty-two characters.", "a name of thirty-two characters"),
        ("thirty characters and an umlaut\u{e4}", "thirty characters and an umlaut"),
        ("twenty-nine and then one: \u{e4}\u{e4}\u{e4}\u{e4}", "twenty-nine and then one: \u{e4}\u{e4}"),
    ] {
        let cache = heap.cache(&Spec::new(name, 40, 16).with(Flags::NO_MERGE));
        assert_eq!((cache.name(), cache.object_size(), cache.alignment()), (kept, 40, 16));
        assert_eq!(cache.geometry().size, 48);
    }
    for (size, name) in [(8, "kmalloc-8"), (96, "kmalloc-96"), (1024, "kmalloc-1024"), (32768, "kmalloc-32768")] {
        assert_eq!(heap.cache(&Spec::new("general", size, 8)).name(), name);
    }
    for error in [CreateError::Layout, CreateError::TooMany, CreateError::NoMemory] {
        assert!(!error.to_string().is_empty());
    }
    assert_ne!(TuneError::Value.to_string(), TuneError::Unsupported.to_string());
    assert_eq!(kmem_slubq::Busy { live: 7 }.to_string(), "7 objects of the cache are in use");
}
