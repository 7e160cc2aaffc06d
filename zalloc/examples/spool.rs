//! Fills a pool with objects of the sizes that compressed pages have, frees most of them at random, and compacts it.
//!
//! `cargo run --release -p kmem-zalloc --example spool`. Real pages, latencies, and others beside it: `kmem-bench-core zpool`.

use kmem_zalloc::{Budget, Handle, Zspool};
use std::error::Error;

/// Objects of the pool: 150 MB.
const OBJECTS: usize = 100_000;

/// Numbers that look random and are the same in each run: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) as usize % end
    }

    /// Normally distributed, nearly: mean 1500, deviation 700.
    fn size(&mut self) -> usize {
        let sum: usize = (0..12).map(|_| self.below(701)).sum();
        (sum + 1500).saturating_sub(12 * 350).clamp(16, 4096)
    }
}

/// What lies in the pool, and what it takes for it, metadata included.
fn report(when: &str, pool: &Zspool) {
    let stats = pool.stats();
    let (objects, memory) = (stats.requested as f64 / 1e6, (stats.resident + stats.metadata) as f64 / 1e6);
    println!("{when:<12}{:>7} objects of {objects:5.1} MB in {memory:5.1} MB: {:5.2} %", stats.objects, 100.0 * objects / memory);
}

fn main() -> Result<(), Box<dyn Error>> {
    let (pool, mut random, page) = (Zspool::new(), Random(7), [b'x'; 4096]);
    let handles: Vec<Handle> = (0..OBJECTS).map(|_| pool.insert(&page[..random.size()])).collect::<Result<_, _>>()?;
    report("filled", &pool);

    let (dead, live): (Vec<_>, Vec<_>) = handles.into_iter().partition(|_| random.below(100) < 57);
    for handle in dead {
        pool.free(handle)?;
    }
    report("57 % freed", &pool);

    // In steps, so that whoever waits for the pool waits for one of them: readers wait for none.
    let (mut steps, mut moved, mut released) = (0, 0, 0);
    loop {
        let step = pool.compact(Budget::objects(256));
        (steps, moved, released) = (steps + 1, moved + step.moved, released + step.released);
        if step.done {
            break;
        }
    }
    report("compacted", &pool);
    println!("{moved} objects moved in {steps} steps, {:.1} MB given back", released as f64 / 1e6);

    // Handles lead to wherever their objects are now.
    for handle in live {
        assert!(pool.read(handle)?.iter().all(|byte| *byte == b'x'));
    }
    pool.check().expect("sound");
    Ok(())
}
