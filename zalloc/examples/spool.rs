//! What `Zspool` costs and gains, as figures: density, compaction, reading, scaling. Run with `--release`; takes seconds.
//!
//! Sizes are those of pages compressed well or badly: a normal distribution of mean 1500 and deviation 700 bytes, and a uniform one.

use kmem_base::source::PageSource;
use kmem_zalloc::{Budget, Handle, Zspool};
use std::hint::black_box;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

#[path = "spool/naive.rs"]
mod naive;
#[path = "spool/random.rs"]
mod random;
#[path = "spool/timed.rs"]
mod timed;

use random::Random;
use timed::Timed;

/// Objects of a filled pool: 150 MB.
const OBJECTS: usize = 100_000;

fn fill<S: PageSource>(pool: &Zspool<S>, sizes: impl Iterator<Item = usize>) -> Vec<Handle> {
    let page = [0x5A; 4096];
    sizes.map(|size| pool.insert(&page[..size]).expect("memory")).collect()
}

fn density<S: PageSource>(pool: &Zspool<S>) -> f64 {
    let stats = pool.stats();
    stats.requested as f64 / (stats.resident + stats.metadata) as f64
}

fn gauss(count: usize) -> impl Iterator<Item = usize> {
    let mut random = Random(7);
    (0..count).map(move |_| random.gauss(1500.0, 700.0).clamp(16.0, 4096.0) as usize)
}

fn uniform(count: usize, from: usize, to: usize) -> impl Iterator<Item = usize> {
    let mut random = Random(11);
    (0..count).map(move |_| from + random.below(to - from + 1))
}

/// Bytes of this process that are in memory.
fn rss() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = text.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("pages");
    pages * 4096
}

fn densities() {
    println!("density = bytes asked for / (memory behind spans + all metadata)");
    let report = |name: &str, sizes: &mut dyn Iterator<Item = usize>| {
        let before = rss();
        let pool = Zspool::new();
        fill(&pool, sizes);
        let stats = pool.stats();
        println!(
            "  {name:<22} {:6.2} %   by the system's count {:6.2} %   metadata {:.2} B per object",
            100.0 * density(&pool),
            100.0 * stats.requested as f64 / (rss() - before) as f64,
            stats.metadata as f64 / stats.objects as f64
        );
        pool.check().expect("sound");
    };
    report("normal(1500, 700)", &mut gauss(OBJECTS));
    report("uniform 1..=4088", &mut uniform(OBJECTS, 1, 4088));
    report("uniform 2049..=4000", &mut uniform(OBJECTS, 2049, 4000));
    report("all 4096", &mut uniform(OBJECTS, 4096, 4096));
    report("all 100", &mut uniform(OBJECTS, 100, 100));
}

/// Frees 57 % of the objects at random. Returns the others.
fn thin<S: PageSource>(pool: &Zspool<S>, handles: Vec<Handle>) -> Vec<Handle> {
    let mut random = Random(3);
    let (dead, live): (Vec<_>, Vec<_>) = handles.into_iter().partition(|_| random.below(100) < 57);
    dead.into_iter().for_each(|handle| pool.free(handle).expect("live"));
    live
}

fn compaction() {
    let pool = Zspool::builder().source(Timed::default()).build();
    let handles = fill(&pool, gauss(OBJECTS));
    let full = pool.stats();
    let live = thin(&pool, handles);
    let sizes: Vec<usize> = live.iter().map(|handle| pool.size(*handle).expect("live")).collect();
    println!("57 % freed at random, then compacted in steps of 256");
    println!("  density before          {:6.2} %", 100.0 * density(&pool));
    let estimate = pool.compactable_bytes();
    let (mut steps, mut own, mut moved, mut bytes, mut released) = (Vec::new(), Vec::new(), 0, 0, 0);
    loop {
        let before = pool.source().0.load(Relaxed);
        let start = Instant::now();
        let step = pool.compact(Budget::objects(256));
        let elapsed = start.elapsed();
        let system = Duration::from_nanos(pool.source().0.load(Relaxed) - before);
        steps.push(elapsed);
        own.push(elapsed - system);
        moved += step.moved;
        bytes += step.bytes_moved;
        released += step.released;
        if step.done {
            break;
        }
    }
    pool.check().expect("sound");
    let packed = Zspool::new();
    fill(&packed, sizes.into_iter());
    println!("  density after           {:6.2} %", 100.0 * density(&pool));
    println!(
        "  packed anew             {:6.2} %, reached {:.2} % of it",
        100.0 * density(&packed),
        100.0 * density(&pool) / density(&packed)
    );
    let gone = full.resident - pool.stats().resident;
    println!(
        "  released                {:6.2} % of the pool by compaction (estimated {:.2}), {:.2} by free and compaction, net",
        100.0 * released as f64 / full.resident as f64,
        100.0 * estimate as f64 / full.resident as f64,
        100.0 * gone as f64 / full.resident as f64
    );
    report_copies(moved, bytes);
    quantiles("step of 256", steps);
    quantiles("... without madvise", own);
    let mut partial = 0;
    pool.classes(|class| partial += usize::from(class.spans * class.per_span > class.objects + class.per_span));
    println!("  classes with more than one partial span: {partial}");
}

fn quantiles(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("  {name:<23} median {:.0?}, 99 % {:.0?}, longest {:.0?} of {}", at(0.5), at(0.99), at(1.0), times.len());
}

fn report_copies(moved: usize, bytes: usize) {
    println!("  copied                  {moved} objects, {:.1} MB", bytes as f64 / 1e6);
    for (name, naive) in naive::compactors() {
        let copies = naive::copies(gauss(OBJECTS), naive);
        println!("    beside {name:<40} {copies:>7} copies: {:.2} x", moved as f64 / copies as f64);
    }
}

fn reading() {
    let pool = Zspool::new();
    let handles = fill(&pool, gauss(1000));
    let rounds = 2000;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..rounds {
            for handle in &handles {
                black_box(pool.read(black_box(*handle)).expect("live").first());
            }
        }
        best = best.min(start.elapsed());
    }
    println!("read, first byte, and end of the guard: {:.1} ns", best.as_nanos() as f64 / (rounds * handles.len()) as f64);
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..200_000 {
            let handle = pool.alloc(black_box(1500)).expect("memory");
            pool.free(handle).expect("live");
        }
        best = best.min(start.elapsed());
    }
    println!("alloc and free: {:.1} ns", best.as_nanos() as f64 / 200_000.0);
}

/// Thousands of rounds of insert, read and free per second.
fn throughput(threads: usize) -> f64 {
    let pool = Zspool::new();
    let rounds = 300_000;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let pool = &pool;
            scope.spawn(move || {
                let page = [thread as u8; 4096];
                let mut held = std::collections::VecDeque::new();
                for size in gauss(rounds) {
                    held.push_back(pool.insert(&page[..size]).expect("memory"));
                    if held.len() > 1000 {
                        let handle = held.pop_front().expect("held");
                        black_box(pool.read(handle).expect("live").first());
                        pool.free(handle).expect("live");
                    }
                }
            });
        }
    });
    (threads * rounds) as f64 / start.elapsed().as_secs_f64() / 1e3
}

fn scaling() {
    let mut best = [0.0_f64; 2];
    for _ in 0..5 {
        best[0] = best[0].max(throughput(1));
        best[1] = best[1].max(throughput(2));
    }
    println!("insert, read and free: {:.0} k/s, on two threads {:.0} k/s: {:.2} x", best[0], best[1], best[1] / best[0]);
}

/// Reads until told to stop; returns the times, sorted.
fn readers<'a>(pool: &Zspool, live: &[Handle], until: impl Fn() -> bool + 'a) -> Vec<u32> {
    let mut random = Random(5);
    let mut times = Vec::new();
    while !until() {
        let handle = live[random.below(live.len())];
        let start = Instant::now();
        black_box(pool.read(handle).expect("live").first());
        times.push(start.elapsed().as_nanos() as u32);
    }
    times.sort();
    times
}

fn readers_during_compaction() {
    use std::sync::atomic::AtomicBool;
    let pool = Zspool::new();
    let handles = fill(&pool, gauss(OBJECTS));
    let live = thin(&pool, handles);
    let start = Instant::now();
    let idle = readers(&pool, &live, || start.elapsed() > Duration::from_millis(200));
    let done = AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        let reader = scope.spawn(|| readers(&pool, &live, || done.load(Relaxed)));
        while !pool.compact(Budget::objects(256)).done {}
        done.store(true, Relaxed);
        reader.join().expect("reads")
    });
    let at = |times: &[u32], share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "readers' 99.9 %: {} ns idle, {} ns during compaction; median {} and {}",
        at(&idle, 0.999),
        at(&busy, 0.999),
        at(&idle, 0.5),
        at(&busy, 0.5)
    );
}

fn main() {
    densities();
    compaction();
    reading();
    scaling();
    readers_during_compaction();
}
