//! Several memory nodes, faked: objects go home through alien arrays.

mod common;

use common::{Heap, read};
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_slab::Flags;

/// `nodes` nodes of two CPUs each, dealt out by row.
fn heap(nodes: u64, magazines: bool) -> Heap {
    let settings = Settings::new().with(Knob::ArenaMb, 1024).with(Knob::PerCpu, 1).with(Knob::DecayMs, 0);
    on_cpu(Some(0));
    Heap::new(&settings.with(Knob::Nodes, nodes).with(Knob::Cpus, 2 * nodes).with(Knob::Front, u64::from(magazines)))
}

#[test]
fn objects_of_another_node_wait_in_its_alien_array_and_go_home_by_the_dozen() {
    for magazines in [false, true] {
        let heap = heap(2, magazines);
        let cache = heap.cache(64, Flags::NONE);
        let mut objects = heap.alloc_many(cache, 25);
        let alien = || heap.slab.cache_info(cache).alien;
        on_cpu(Some(1));
        heap.free_all(cache, objects.drain(..12));
        assert_eq!(alien(), 12);
        let free = heap.slab.cache_info(cache).free;
        heap.free_all(cache, objects.drain(..1));
        assert_eq!((alien(), heap.slab.cache_info(cache).free), (0, free + 13), "the array was full");
        heap.free_all(cache, objects.drain(..5));
        assert_eq!(alien(), 5);
        on_cpu(Some(0));
        heap.free_all(cache, objects.drain(..));
        assert_eq!(alien(), 5, "at home there is no need");
        assert_eq!(read(&cache.counters().alien), 18);
        heap.slab.check().unwrap();
        assert_eq!(heap.slab.live_objects(cache), 0);
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn what_a_node_allocates_is_its_own() {
    let heap = heap(4, false);
    let cache = heap.cache(256, Flags::NONE);
    for cpu in 0..8 {
        on_cpu(Some(cpu));
        let objects = heap.alloc_many(cache, 300);
        heap.free_all(cache, objects);
    }
    assert_eq!(read(&cache.counters().alien), 0);
    on_cpu(Some(0));
    heap.slab.check().unwrap();
}

#[test]
fn the_reaper_sends_one_nodes_objects_home_each_time() {
    let heap = heap(4, false);
    let cache = heap.cache(64, Flags::NONE);
    for cpu in 0..4 {
        on_cpu(Some(cpu));
        let objects = heap.alloc_many(cache, 3);
        on_cpu(Some((cpu + 1) % 4));
        heap.free_all(cache, objects);
    }
    let alien = || heap.slab.cache_info(cache).alien;
    for left in [9, 6, 3, 0] {
        heap.slab.reap_tick();
        heap.slab.reap_tick();
        assert_eq!(alien(), left);
    }
}

#[test]
fn a_cache_with_objects_on_their_way_home_can_be_destroyed() {
    let heap = heap(2, false);
    let cache = heap.cache(64, Flags::NONE);
    let objects = heap.alloc_many(cache, 5);
    on_cpu(Some(1));
    heap.free_all(cache, objects);
    heap.destroy(cache).unwrap();
    heap.slab.check().unwrap();
}

#[test]
fn a_node_without_memory_is_served_by_others() {
    let heap = heap(2, false);
    let cache = heap.cache(64, Flags::NONE);
    let objects = heap.alloc_many(cache, 100);
    // From here on there is no memory but what the slabs of node 0 have.
    heap.slab.shrink(cache);
    let room = heap.slab.cache_info(cache).free;
    assert!(room > 500);
    heap.slab.knobs().set(Knob::LimitMb, 1).unwrap();
    heap.slab.apply_knobs();
    on_cpu(Some(1));
    let others: Vec<_> = (0..room).map(|_| heap.slab.alloc_object(cache)).take_while(|object| !object.is_null()).collect();
    assert!(others.len() > 500, "{} of {room}", others.len());
    heap.free_all(cache, others.into_iter().chain(objects));
    heap.slab.check().unwrap();
    assert_eq!(heap.slab.live_objects(cache), 0);
}

#[test]
fn a_pass_takes_of_each_node_a_fifth_of_the_slabs_that_it_may_keep() {
    let heap = heap(4, false);
    let cache = heap.cache(8192, Flags::NONE);
    heap.slab.tune(cache, 200, 100, 0).unwrap();
    // So many free slabs as a node may keep: 300 objects and a slab's, 8 in each.
    let slabs: Vec<Vec<_>> = (0..4)
        .map(|cpu| {
            on_cpu(Some(cpu));
            heap.alloc_many(cache, 300)
        })
        .collect();
    for (cpu, objects) in slabs.into_iter().enumerate() {
        on_cpu(Some(cpu as u32));
        heap.free_all(cache, objects);
    }
    heap.slab.tune(cache, 200, 100, 0).unwrap();
    let info = || heap.slab.cache_info(cache);
    let kept = info().free_slabs;
    assert!(kept >= 4 * 30 && info().slabs() == kept);
    let fifth = 308_usize.div_ceil(5 * 8);
    // A node whose free slabs were taken from is spared once.
    on_cpu(Some(0));
    let object = heap.alloc_many(cache, 1);
    for nodes in [3, 4] {
        heap.slab.reap_tick();
        assert_eq!(heap.slab.reap_tick().slabs, nodes * fifth);
    }
    heap.free_all(cache, object);
    heap.slab.check().unwrap();
}
