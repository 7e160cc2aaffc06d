//! Every sequence of a few operations on a heap of four pages.

mod common;

use common::Tested;
use kmem_slob::Book;
use std::alloc::Layout;

both!(every_short_sequence);

const LEN: usize = 4 * 4096;
/// Sizes that meet every edge of a page: within it, all of it, across, a run.
const SIZES: [(usize, usize); 7] = [(1, 1), (40, 8), (4094, 2), (4096, 4096), (4098, 1), (2500, 16), (9000, 8)];
const RESIZES: [usize; 4] = [1, 4000, 4100, 9000];
const DEPTH: u32 = 4;

fn depth() -> u32 {
    std::env::var("KMEM_SLOB_DEPTH").ok().and_then(|text| text.parse().ok()).unwrap_or(DEPTH)
}

/// Carries out the operations that `code` stands for, digit by digit; false if one of them is none.
fn run<B: Book>(mut code: u64, depth: u32, base: u64) -> bool {
    let mut tested = Tested::<B>::new(LEN, 0);
    for _ in 0..depth {
        let digit = (code % base) as usize;
        code /= base;
        let blocks = tested.blocks.len();
        let (frees, resizes) = (SIZES.len(), SIZES.len() + depth as usize - 1);
        if digit < frees {
            let (size, align) = SIZES[digit];
            tested.alloc(Layout::from_size_align(size, align).unwrap());
        } else if digit < resizes {
            if digit - frees >= blocks {
                return false;
            }
            tested.free(digit - frees);
        } else {
            // Of the oldest block and the newest.
            let (which, size) = ((digit - resizes) / RESIZES.len(), (digit - resizes) % RESIZES.len());
            if which >= blocks {
                return false;
            }
            tested.resize(if which == 0 { 0 } else { blocks - 1 }, RESIZES[size]);
        }
    }
    tested.check();
    tested.finish();
    true
}

fn every_short_sequence<B: Book>() {
    let depth = depth();
    let base = (SIZES.len() + depth as usize - 1 + 2 * RESIZES.len()) as u64;
    let valid = (0..base.pow(depth)).filter(|code| run::<B>(*code, depth, base)).count();
    assert!(valid > 1000, "{valid} sequences");
    println!("{valid} sequences of {depth} operations");
}
