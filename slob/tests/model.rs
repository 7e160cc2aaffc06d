//! Random operations beside a model that knows whose each byte is. In heaps of up to fourteen pages a search sees every hole: there a
//! refusal must be right, too.

mod common;

use common::{Tested, layout};
use kmem_slob::Book;
use kmem_testkit::SplitMix64;

both!(
    small_blocks_in_few_pages,
    all_sizes_in_a_few_pages,
    all_alignments,
    tiny_blocks_fill_lists,
    a_buffer_too_small_serves_nothing
);

fn scale() -> u64 {
    std::env::var("KMEM_SLOB_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn run<B: Book>(seed: u64, len: usize, most: usize, align: u32, check_every: usize) {
    let mut rng = SplitMix64::new(seed);
    let mut tested = Tested::<B>::new(len, rng.below(9) * rng.below(2));
    for step in 0..1500 {
        let blocks = tested.blocks.len();
        match rng.below(10) {
            0..=4 => drop(tested.alloc(layout(&mut rng, most, align))),
            _ if blocks == 0 => {}
            5..=7 => tested.free(rng.below(blocks)),
            _ => drop(tested.resize(rng.below(blocks), rng.between(1, most))),
        }
        // A full heap is no place for much to happen.
        if step % 300 == 299 {
            (0..tested.blocks.len() / 2).for_each(|_| tested.free(rng.below(tested.blocks.len())));
        }
        if step % check_every == 0 {
            tested.check();
        }
    }
    tested.finish();
}

fn small_blocks_in_few_pages<B: Book>() {
    (0..scale()).for_each(|seed| run::<B>(seed, 200 + seed as usize * 97 % 9000, 60, 4, 7));
}

fn all_sizes_in_a_few_pages<B: Book>() {
    (0..scale()).for_each(|seed| run::<B>(seed, 3000 + seed as usize * 977 % 50_000, 6000, 5, 7));
}

fn all_alignments<B: Book>() {
    (0..scale()).for_each(|seed| run::<B>(seed, 20_000 + seed as usize * 577 % 30_000, 2000, 12, 7));
}

fn tiny_blocks_fill_lists<B: Book>() {
    (0..scale()).for_each(|seed| run::<B>(seed, 50_000, 9, 1, 31));
}

fn a_buffer_too_small_serves_nothing<B: Book>() {
    for len in 0..200 {
        let mut tested = Tested::<B>::new(len, 0);
        let layout = std::alloc::Layout::new::<u64>();
        while tested.alloc(layout).is_some() {}
        tested.check();
        assert!(tested.blocks.len() * 8 <= len);
        tested.finish();
    }
}
