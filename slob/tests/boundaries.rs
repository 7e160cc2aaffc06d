//! Sizes around the borders that lists, classes and pages have, at every alignment; and heaps filled to the last byte.

mod common;

use common::Tested;
use kmem_slob::Book;
use std::alloc::Layout;

both!(
    every_border_at_every_alignment,
    resizing_across_every_border,
    equal_blocks_fill_all_but_the_table,
    a_block_grows_into_the_holes_on_both_sides,
    too_much_is_null
);

const SIZES: [usize; 24] =
    [1, 2, 3, 7, 8, 9, 254, 255, 256, 257, 1022, 1023, 1024, 1025, 2047, 2048, 2049, 4094, 4095, 4096, 4097, 8191, 8192, 8193];

fn every_border_at_every_alignment<B: Book>() {
    for shift in 0..=12 {
        let mut tested = Tested::<B>::new(1 << 18, 2);
        for size in SIZES {
            tested.alloc(Layout::from_size_align(size, 1 << shift).unwrap()).expect("room for all of them");
        }
        tested.check();
        // Every second one, from the borders on.
        (0..SIZES.len() / 2).rev().for_each(|index| tested.free(index));
        tested.check();
        for size in SIZES {
            tested.alloc(Layout::from_size_align(size, 1 << shift).unwrap()).expect("room for all of them");
        }
        tested.finish();
    }
}

fn resizing_across_every_border<B: Book>() {
    for align in [1, 8, 64, 4096] {
        let mut tested = Tested::<B>::new(1 << 16, 0);
        tested.alloc(Layout::from_size_align(100, align).unwrap());
        tested.alloc(Layout::from_size_align(1, 1).unwrap());
        for from in SIZES {
            for to in SIZES {
                assert!(tested.resize(0, from) && tested.resize(0, to), "{from} to {to}");
            }
            tested.check();
        }
        tested.finish();
    }
}

fn equal_blocks_fill_all_but_the_table<B: Book>() {
    for size in [2, 8, 16, 24, 48, 96, 512, 4096] {
        let mut tested = Tested::<B>::new(1 << 16, 0);
        let layout = Layout::from_size_align(size, size & size.wrapping_neg()).unwrap();
        while tested.alloc(layout).is_some() {}
        let stats = tested.heap.stats();
        assert!(stats.free < 2 * size.max(16), "{} of {size} bytes each: {stats:?}", tested.blocks.len());
        tested.check();
        tested.finish();
    }
}

fn a_block_grows_into_the_holes_on_both_sides<B: Book>() {
    let mut tested = Tested::<B>::new(1 << 16, 0);
    let layout = Layout::from_size_align(20_000, 8).unwrap();
    for _ in 0..3 {
        tested.alloc(layout).expect("room for three");
    }
    // The middle one, once the first is free, has room below; and after the last is free, above.
    tested.free(0);
    let (middle, last) = (1, 0);
    let rest = tested.alloc(Layout::from_size_align(5000, 8).unwrap()).is_some();
    assert!(tested.resize(middle, 30_000) || rest, "below");
    tested.free(last);
    tested.check();
    tested.finish();
}

fn too_much_is_null<B: Book>() {
    let mut tested = Tested::<B>::new(1 << 16, 0);
    for size in [1 << 16, 1 << 20, isize::MAX as usize - 4096] {
        assert!(tested.heap.alloc(Layout::from_size_align(size, 8).unwrap()).is_null());
    }
    tested.alloc(Layout::from_size_align(1, 1 << 15).unwrap());
    tested.alloc(Layout::from_size_align(64, 8).unwrap());
    assert!(!tested.resize(0, isize::MAX as usize - (1 << 16)));
    tested.check();
    tested.finish();
}
