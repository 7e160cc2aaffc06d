//! Whether a heap grows that should not: random operations around a number of live blocks, the pages in use looked at now and then.

use std::alloc::Layout;

use kmem::slob::{Book, Fixed, Heap, Lists, Marks, Unchecked};

use super::arena::Buffer;
use super::percent;
use crate::bench::Scale;
use crate::rng::Rng;
use crate::slab::markdown::section;
use crate::slab::verdict;

const BLOCKS: usize = 20_000;
const MAX_SIZE: usize = 1_000;
/// Growth from the third quarter to the last that counts as none: what the bytes that are live vary by is far more.
const STEADY: f64 = 0.001;

pub(super) fn report(scale: Scale) -> String {
    let operations: usize = scale.pick(100_000, 2_000_000, 10_000_000);
    let lines: Vec<_> = quarters::<Lists>("lists", operations).into_iter().chain(quarters::<Marks>("marks", operations)).collect();
    let about = format!(
        "{operations} random operations around {BLOCKS} live blocks of up to {MAX_SIZE} bytes. Means over each quarter. Target: the last \
         quarter's ratio at most {} % above the third's.",
        percent(STEADY)
    );
    section("Drift", &about, &["quarter", "live, KiB", "pages in use, KiB", "ratio"], &lines)
}

/// What a heap with one of the books has in use, by quarters of the operations.
fn quarters<B: Book>(book: &str, operations: usize) -> Vec<Vec<String>> {
    let mut buffer = Buffer::new(64 << 20);
    let (at, len) = buffer.parts();
    // SAFETY: the buffer, which outlives the heap and has no other use.
    let mut heap = Heap::<_, Unchecked, B>::new(unsafe { Fixed::from_raw(at, len) });
    let (mut rng, mut blocks, mut samples) = (Rng::new(7), Vec::<(*mut u8, Layout)>::new(), Vec::new());
    for operation in 0..operations {
        if blocks.len() < BLOCKS || rng.below(2) == 0 && blocks.len() < BLOCKS + 200 {
            let cap = rng.between(16, MAX_SIZE);
            let layout = Layout::from_size_align(rng.between(1, cap), 8).expect("a small layout");
            let block = heap.alloc(layout);
            assert!(!block.is_null(), "the heap has grown beyond all bounds");
            blocks.push((block, layout));
        } else {
            let (block, layout) = blocks.swap_remove(rng.below(blocks.len()));
            // SAFETY: live.
            unsafe { heap.dealloc(block, layout) };
        }
        if operation % (operations / 400) == 0 {
            let stats = heap.stats();
            samples.push((stats.used as f64, stats.mapped() as f64));
        }
    }
    let mean = |from: usize, what: fn(&(f64, f64)) -> f64| samples[from..from + 100].iter().map(what).sum::<f64>() / 100.0;
    let line = |quarter: usize| {
        let (live, mapped) = (mean(quarter * 100, |sample| sample.0), mean(quarter * 100, |sample| sample.1));
        vec![
            format!("{book}, {} of 4", quarter + 1),
            format!("{:.0}", live / 1024.0),
            format!("{:.0}", mapped / 1024.0),
            format!("{:.4}", mapped / live),
        ]
    };
    let mut lines: Vec<_> = (0..4).map(line).collect();
    let ratio = |from| mean(from, |sample| sample.1) / mean(from, |sample| sample.0);
    let slope = ratio(300) / ratio(200) - 1.0;
    lines.push(vec![format!("{book}, growth, %"), String::new(), verdict(slope <= STEADY), percent(slope)]);
    lines
}
