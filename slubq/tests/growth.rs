//! A heap that grows takes back what lies idle, and one that shrinks gives back what is free, whatever the time. Theory 6.5.

mod common;

use common::{Heap, alloc_many, configurations, free_all};
use kmem_base::knobs::Knob;
use kmem_slubq::{Cache, Flags, Spec};

/// Objects of 4 KiB: 16 MiB of them, four times what a heap must grow by.
const GROWTH: usize = 4096;

fn cache(heap: &Heap, name: &str, size: usize) -> &'static Cache {
    heap.cache(&Spec::new(name, size, 8).with(Flags::NO_MERGE))
}

/// What the queues of an idle cache hold, before and after the heap has grown.
fn idle_queue_while_growing(decay_ms: u64) -> [usize; 2] {
    let (_, settings) = configurations()[0];
    let heap = Heap::new(&settings.with(Knob::DecayMs, decay_ms));
    let (idle, busy) = (cache(&heap, "idle", 256), cache(&heap, "busy", 4096));
    let left = alloc_many(&heap, idle, 500);
    free_all(&heap, idle, left);
    let before = heap.slubq.cache_info(idle).queued;
    let live = alloc_many(&heap, busy, GROWTH);
    let after = heap.slubq.cache_info(idle);
    assert!(after.queued > 0 || after.slabs == 0, "without queued objects nothing keeps its slabs: {after:?}");
    heap.slubq.check().unwrap();
    free_all(&heap, busy, live);
    [before, after.queued]
}

#[test]
fn idle_queues_are_emptied_when_the_heap_grows() {
    let [before, after] = idle_queue_while_growing(86_400_000);
    assert!(before >= 100, "{before}");
    assert_eq!(after, 0);
}

#[test]
fn without_decay_they_stay() {
    let [before, after] = idle_queue_while_growing(0);
    assert_eq!(before, after);
}

/// Bytes of free pages that may be backed by memory, when a heap of 32 MiB has been emptied.
fn kept_after_shrinking(decay_ms: u64) -> usize {
    let (_, settings) = configurations()[0];
    let heap = Heap::new(&settings.with(Knob::DecayMs, decay_ms));
    let objects = cache(&heap, "brief", 4096);
    let live = alloc_many(&heap, objects, 2 * GROWTH);
    free_all(&heap, objects, live);
    heap.slubq.check().unwrap();
    heap.slubq.page_stats().retained
}

#[test]
fn free_pages_go_back_when_the_heap_shrinks() {
    // A step is over after 20 ms: on a busy machine with little to show.
    let kept: Vec<_> = (0..20).map(|_| kept_after_shrinking(86_400_000)).take_while(|kept| *kept > 20 << 20).collect();
    assert!(kept.len() < 20, "{kept:?} of 32 MiB, time and again");
}

#[test]
fn without_decay_free_pages_stay() {
    let kept = kept_after_shrinking(0);
    assert!(kept >= 28 << 20, "{kept} of 32 MiB");
}
