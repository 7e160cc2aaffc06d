//! How long one allocation takes, and into how many pages (holes, where they are in bins) it looks, in a heap of pages that are about half full.

use std::alloc::Layout;
use std::cell::Cell;

use kmem::slob::{Book, Fault, Fixed, Heap, Lists, Marks, Mode, Stats, config};

use super::arena::Buffer;
use crate::bench::Scale;
use crate::rng::Rng;
use crate::slab::markdown::section;
use crate::slab::verdict;

/// Most pages, or holes, that one allocation may look into, and nanoseconds that one in ten thousand may take.
const PROBES: u64 = 64;
const TAIL: u64 = 20_000;
const MAX_SIZE: usize = 1_000;
const PASSES: usize = 3;

thread_local! {
    static LOOKED: Cell<usize> = const { Cell::new(0) };
}

/// Counts the pages or holes that are looked into.
struct Counting;

impl Mode for Counting {
    const CHECKED: bool = false;
    fn fault(_: Fault, _: usize) {}
    fn probe() {
        LOOKED.set(LOOKED.get() + 1);
    }
}

/// The thread's own time, in nanoseconds: what others do on its CPU meanwhile is not the heap's.
fn own_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: valid for the write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn layout(rng: &mut Rng) -> Layout {
    let cap = rng.between(16, MAX_SIZE);
    Layout::from_size_align(rng.between(1, cap), 1 << rng.between(0, 4)).expect("a small layout")
}

/// What one pass measured, operation by operation.
struct Pass {
    allocs: Vec<u64>,
    frees: Vec<u64>,
    probes: Vec<u64>,
    before: Stats,
}

fn pass<B: Book>(buffer: &mut Buffer, pages: usize, operations: usize) -> Pass {
    let (at, len) = buffer.parts();
    // SAFETY: the buffer, which outlives the heap and has no other use.
    let mut heap = Heap::<_, Counting, B>::new(unsafe { Fixed::from_raw(at, len) });
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
    let times = || Vec::with_capacity(operations);
    let mut pass = Pass { allocs: times(), frees: times(), probes: times(), before: heap.stats() };
    for _ in 0..operations {
        let layout = layout(&mut rng);
        LOOKED.set(0);
        let began = own_time();
        let block = heap.alloc(layout);
        pass.allocs.push(own_time() - began);
        pass.probes.push(LOOKED.get() as u64);
        assert!(!block.is_null(), "half of the heap is free");
        let index = rng.below(blocks.len());
        let (old, layout) = std::mem::replace(&mut blocks[index], (block, layout));
        let began = own_time();
        // SAFETY: live.
        unsafe { heap.dealloc(old, layout) };
        pass.frees.push(own_time() - began);
    }
    pass
}

/// The smaller of two times of the same operation: what the machine did meanwhile does not hit the same one twice.
fn least(times: &mut [u64], others: &[u64]) {
    times.iter_mut().zip(others).for_each(|(time, other)| *time = (*time).min(*other));
}

fn line(name: &str, figures: &mut [u64], judge: impl Fn(u64, u64) -> String) -> Vec<String> {
    figures.sort_unstable();
    let at = |share: f64| figures[((figures.len() - 1) as f64 * share) as usize];
    let cells = [0.5, 0.99, 0.9999, 1.0].map(|share| at(share).to_string());
    [name.to_owned()].into_iter().chain(cells).chain([judge(at(0.9999), at(1.0))]).collect()
}

pub(super) fn report(scale: Scale) -> String {
    let pages: usize = scale.pick(500, 20_000, 100_000);
    let operations: usize = scale.pick(2_000, 200_000, 1_000_000);
    let mut buffer = Buffer::new((pages + pages / 50 + 16) * config::PAGE);
    let mut best = least_of_passes::<Lists>(&mut buffer, pages, operations);
    let mut lines = lines("lists", &mut best, "pages").to_vec();
    let mut other = least_of_passes::<Marks>(&mut buffer, pages, operations);
    lines.extend(self::lines("marks", &mut other, "holes"));
    let about = format!(
        "{operations} allocations and frees of up to {MAX_SIZE} bytes among {} pages, of whose bytes {:.0} % are in use; each by itself, in the \
         thread's own time, that of the clock included, the least of {PASSES} passes that do the same. Targets: {PROBES} pages, 20 us for \
         99.99 %.",
        best.before.pages - best.before.empty_pages,
        best.before.used as f64 / best.before.mapped() as f64 * 100.0
    );
    section("Bounded work", &about, &["", "50 %", "99 %", "99.99 %", "most", "target"], &lines)
}

fn least_of_passes<B: Book>(buffer: &mut Buffer, pages: usize, operations: usize) -> Pass {
    let mut best = pass::<B>(buffer, pages, operations);
    for _ in 1..PASSES {
        let again = pass::<B>(buffer, pages, operations);
        least(&mut best.allocs, &again.allocs);
        least(&mut best.frees, &again.frees);
    }
    best
}

fn lines(book: &str, best: &mut Pass, what: &str) -> [Vec<String>; 3] {
    [
        line(&format!("{book}: alloc, ns"), &mut best.allocs, |tail, _| verdict(tail <= TAIL)),
        line(&format!("{book}: free, ns"), &mut best.frees, |_, _| String::new()),
        line(&format!("{book}: {what} looked into"), &mut best.probes, |_, most| verdict(most <= PROBES)),
    ]
}
