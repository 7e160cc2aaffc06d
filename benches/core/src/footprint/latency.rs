//! How long one allocation takes, and into how many pages it looks, in a heap of pages that are about half full.

use std::alloc::Layout;
use std::cell::Cell;
use std::time::Instant;

use kmem::slob::{Fault, Fixed, Heap, Mode, config};

use super::arena::Buffer;
use crate::bench::Scale;
use crate::rng::Rng;
use crate::slab::markdown::section;
use crate::slab::verdict;

/// Most pages that one allocation may look into, and nanoseconds that one in ten thousand may take.
const PROBES: usize = 64;
const TAIL: u64 = 20_000;
const MAX_SIZE: usize = 1_000;

thread_local! {
    static LOOKED: Cell<usize> = const { Cell::new(0) };
}

/// Counts the pages that are looked into.
struct Counting;

impl Mode for Counting {
    const CHECKED: bool = false;
    fn fault(_: Fault, _: usize) {}
    fn probe() {
        LOOKED.set(LOOKED.get() + 1);
    }
}

fn layout(rng: &mut Rng) -> Layout {
    let cap = rng.between(16, MAX_SIZE);
    Layout::from_size_align(rng.between(1, cap), 1 << rng.between(0, 4)).expect("a small layout")
}

pub(super) fn report(scale: Scale) -> String {
    let pages: usize = scale.pick(500, 20_000, 100_000);
    let operations: usize = scale.pick(2_000, 200_000, 1_000_000);
    let mut buffer = Buffer::new((pages + pages / 50 + 16) * config::PAGE);
    let (at, len) = buffer.parts();
    // SAFETY: the buffer, which outlives the heap and has no other use.
    let mut heap = Heap::<_, Counting>::new(unsafe { Fixed::from_raw(at, len) });
    let (mut rng, mut blocks) = (Rng::new(3), Vec::<(*mut u8, Layout)>::new());
    while heap.used() < pages * config::PAGE {
        let layout = layout(&mut rng);
        blocks.push((heap.alloc(layout), layout));
    }
    // Every second block goes, in no order.
    for _ in 0..blocks.len() / 2 {
        let (block, layout) = blocks.swap_remove(rng.below(blocks.len()));
        // SAFETY: live.
        unsafe { heap.dealloc(block, layout) };
    }
    let in_use = heap.stats();
    let (mut allocs, mut frees, mut probes) = (Vec::with_capacity(operations), Vec::with_capacity(operations), Vec::new());
    for _ in 0..operations {
        let layout = layout(&mut rng);
        LOOKED.set(0);
        let clock = Instant::now();
        let block = heap.alloc(layout);
        allocs.push(clock.elapsed().as_nanos() as u64);
        probes.push(LOOKED.get());
        assert!(!block.is_null(), "half of the heap is free");
        let index = rng.below(blocks.len());
        let (old, layout) = std::mem::replace(&mut blocks[index], (block, layout));
        let clock = Instant::now();
        // SAFETY: live.
        unsafe { heap.dealloc(old, layout) };
        frees.push(clock.elapsed().as_nanos() as u64);
    }
    let line = |name: &str, times: &mut Vec<u64>, judged: bool| {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let mut cells = vec![name.to_owned()];
        cells.extend([0.5, 0.99, 0.9999, 1.0].map(|share| at(share).to_string()));
        cells.push(if judged { verdict(at(0.9999) <= TAIL) } else { String::new() });
        cells
    };
    let most = probes.iter().copied().max().unwrap_or(0);
    let mut probes: Vec<u64> = probes.into_iter().map(|probes| probes as u64).collect();
    let mut looked = line("pages looked into", &mut probes, false);
    looked[5] = verdict(most <= PROBES);
    let lines = [line("alloc, ns", &mut allocs, true), line("free, ns", &mut frees, false), looked];
    let about = format!(
        "{operations} allocations and frees of up to {MAX_SIZE} bytes among {} pages, of whose bytes {:.0} % are in use; each timed by itself, \
         the clock's own time included. Targets: {PROBES} pages, 20 us for 99.99 %.",
        in_use.pages - in_use.empty_pages,
        in_use.used as f64 / in_use.mapped() as f64 * 100.0
    );
    section("Bounded work", &about, &["", "50 %", "99 %", "99.99 %", "most", "target"], &lines)
}
