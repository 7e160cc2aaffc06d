//! No allocation looks into more pages than the theory says (6.1), whatever the heap is like.

mod common;

use kmem_base::fault::Fault;
use kmem_slob::{Book, Fixed, Heap, Mode, config::PROBES};
use kmem_testkit::SplitMix64;
use std::alloc::Layout;
use std::cell::Cell;

both!(holes_just_too_short_are_not_looked_into_without_end, short_holes_do_not_hide_a_larger_one, random_holes_take_few_looks);

thread_local! {
    static LOOKED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

impl Mode for Counting {
    const CHECKED: bool = false;
    fn fault(_: Fault, _: usize) {}
    fn probe() {
        LOOKED.set(LOOKED.get() + 1);
    }
}

fn probes<B: Book>(heap: &mut Heap<Fixed, Counting, B>, size: usize, align: usize) -> (*mut u8, usize) {
    LOOKED.set(0);
    (heap.alloc(Layout::from_size_align(size, align).unwrap()), LOOKED.get())
}

fn heap<B: Book>(pages: usize) -> Heap<Fixed, Counting, B> {
    Heap::new(Fixed::new(Vec::leak(vec![0; pages * 4096])))
}

fn holes_just_too_short_are_not_looked_into_without_end<B: Book>() {
    // A hole in every page, of the request's class, in which its alignment does not fit: nothing tells before the look.
    let (mut heap, pages) = (heap::<B>(600), 500);
    let mut blocks = Vec::new();
    for _ in 0..pages {
        let (hole, _) = probes(&mut heap, 1024 + 64, 8);
        blocks.push(hole);
        probes(&mut heap, 4096 - 1024 - 64 - 128, 8);
        probes(&mut heap, 128, 8);
    }
    while !probes(&mut heap, 4096, 8).0.is_null() {}
    while !probes(&mut heap, 8, 8).0.is_null() {}
    let layout = Layout::from_size_align(1024 + 64, 8).unwrap();
    // SAFETY: live blocks.
    blocks.into_iter().for_each(|block| unsafe { heap.dealloc(block, layout) });
    let (block, looked) = probes(&mut heap, 1088, 4096);
    assert!(looked > PROBES / 2 && looked <= PROBES, "{looked} pages for {block:?}");
    let (block, looked) = probes(&mut heap, 1088, 8);
    assert!(!block.is_null() && looked == 1, "{looked}");
}

fn short_holes_do_not_hide_a_larger_one<B: Book>() {
    let mut heap = heap::<B>(300);
    let (short, keep) = (Layout::from_size_align(1024, 8).unwrap(), Layout::from_size_align(16, 8).unwrap());
    let blocks: Vec<_> = (0..200).map(|_| (heap.alloc(short), heap.alloc(keep)).0).collect();
    // SAFETY: live blocks.
    blocks.into_iter().for_each(|block| unsafe { heap.dealloc(block, short) });
    // Of the same class, and there is room behind them all.
    for align in [8, 256, 4096] {
        let (block, looked) = probes(&mut heap, 1100, align);
        assert!(!block.is_null() && looked <= PROBES / 2, "{looked} looks for {block:?}");
    }
}

fn random_holes_take_few_looks<B: Book>() {
    let (mut heap, mut rng, mut blocks) = (heap::<B>(2000), SplitMix64::new(6), Vec::new());
    let mut most = 0;
    for step in 0..60_000 {
        let layout = Layout::from_size_align(rng.between(1, 1000), 1 << rng.below(8)).unwrap();
        let (block, looked) = probes(&mut heap, layout.size(), layout.align());
        assert!(looked <= PROBES, "{looked} pages for {layout:?}");
        most = most.max(looked);
        blocks.extend((!block.is_null()).then_some((block, layout)));
        if step > 10_000 {
            let (block, layout) = blocks.swap_remove(rng.below(blocks.len()));
            // SAFETY: live.
            unsafe { heap.dealloc(block, layout) };
        }
    }
    assert!(most > 4, "{most}: nothing was searched for");
    assert_eq!(heap.check(), Ok(()));
}
