//! Density: after filling, after freeing, after compaction.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kmem_zalloc::{Budget, Handle, Stats, Zspool};

use super::baselines::{Baseline, PAGE, Xvmalloc, Z3fold, Zbud};
use super::copies::Copies;
use super::corpus::Packed;
use super::{Verdicts, ignore, kept, percent};
use crate::rng::Rng;
use crate::{Error, Result};

/// Objects that a step of compaction looks at.
const STEP: usize = 256;

fn baselines() -> [Box<dyn Baseline>; 3] {
    [Box::new(Zbud::default()), Box::new(Z3fold::default()), Box::new(Xvmalloc::new())]
}

/// All memory of a pool.
fn total(stats: &Stats) -> usize {
    stats.resident - stats.spare + stats.metadata
}

fn fill(pool: &Zspool, objects: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<Handle>> {
    objects.into_iter().map(|object| pool.insert(object.as_ref()).map_err(Error::from)).collect()
}

/// Bytes stored over bytes taken, of the pool and of each baseline.
pub(super) fn density(name: &str, objects: &Packed, target: Option<f64>, text: &mut String, verdicts: &mut Verdicts) -> Result<()> {
    let pool = Zspool::new();
    fill(&pool, objects.iter())?;
    let bytes = total(&pool.stats());
    let share = objects.total() as f64 / bytes as f64;
    let _ = write!(text, "{name:<26}{:>9}{:>8}{:>9}", objects.len(), objects.total() / objects.len().max(1), percent(share));
    for mut baseline in baselines() {
        objects.iter().for_each(|object| ignore(baseline.insert(object.len())));
        let others = baseline.pages() * PAGE;
        let _ = write!(text, "{:>10}", percent(objects.total() as f64 / others as f64));
        if baseline.name() == "zbud" && target.is_some() {
            let less = 1.0 - bytes as f64 / others as f64;
            verdicts.at_least(&format!("{name}: smaller than zbud"), less * 100.0, 25.0, "%");
        }
    }
    let _ = writeln!(text);
    if let Some(target) = target {
        verdicts.at_least(&format!("{name}: density"), share * 100.0, target, "%");
    }
    Ok(())
}

/// What a pool keeps books with.
pub(super) fn metadata(objects: &Packed, text: &mut String, verdicts: &mut Verdicts) -> Result<()> {
    let pool = Zspool::new();
    fill(&pool, objects.iter())?;
    let stats = pool.stats();
    let allowed = 12 * stats.objects + 64 * stats.spans;
    let _ = writeln!(
        text,
        "metadata: {} bytes for {} objects in {} spans, {:.2} an object",
        stats.metadata,
        stats.objects,
        stats.spans,
        stats.metadata as f64 / stats.objects as f64
    );
    verdicts.at_most("metadata, of 12 B an object and 64 B a span", stats.metadata as f64 / allowed as f64 * 100.0, 100.0, "%");
    Ok(())
}

/// Frees objects at random, and compacts.
pub(super) fn compaction(objects: &Packed, text: &mut String, verdicts: &mut Verdicts) -> Result<()> {
    let pool = Zspool::new();
    let handles = fill(&pool, objects.iter())?;
    let full = total(&pool.stats());
    let mut alive = vec![true; objects.len()];
    for index in kept::freed(objects.len()) {
        pool.free(handles[index])?;
        alive[index] = false;
    }
    let (before, estimate) = (pool.stats(), pool.compactable_bytes());
    let left: usize = before.requested;
    let _ = writeln!(
        text,
        "{} of 100 objects freed at random: {} MiB of objects in {:.1} MiB (before: {:.1})",
        kept::FREED,
        left >> 20,
        mib(total(&before)),
        mib(full)
    );
    let (mut moved, mut copied, mut steps) = (0, 0, Vec::new());
    let clock = Instant::now();
    loop {
        let step = Instant::now();
        let done = pool.compact(Budget::objects(STEP));
        steps.push(step.elapsed());
        (moved, copied) = (moved + done.moved, copied + done.bytes_moved);
        if done.done {
            break;
        }
    }
    let time = clock.elapsed();
    pool.trim();
    let after = pool.stats();
    pool.check().map_err(|broken| broken.what)?;
    let packed = Zspool::new();
    fill(&packed, objects.iter().zip(&alive).filter(|(_, alive)| **alive).map(|(object, _)| object))?;
    let released = total(&before) - total(&after);
    let copies = Copies::of(&pool, objects, &alive);
    let _ = writeln!(
        text,
        "compaction: {:.1} MiB released ({:.1} estimated), {moved} objects moved ({:.1} MiB), {:.0} ms; afterwards {:.1} MiB, packed afresh {:.1}",
        mib(released),
        mib(estimate),
        mib(copied),
        time.as_secs_f64() * 1e3,
        mib(total(&after)),
        mib(total(&packed.stats())),
    );
    let Copies { everything, sliding, two_groups, fewest } = copies;
    let _ = writeln!(
        text,
        "others would move {sliding} (the last spans into the first), {two_groups} (two groups, as zsmalloc before 6.4), {everything} (all), \
         {fewest} (the fewest possible)"
    );
    for mut baseline in baselines() {
        let names: Vec<_> = objects.iter().map(|object| baseline.insert(object.len())).collect();
        names.iter().zip(&alive).filter(|(_, alive)| !**alive).for_each(|(name, _)| baseline.free(*name));
        let _ =
            writeln!(text, "the same on {}, which cannot be compacted: {:.1} MiB", baseline.name(), mib(baseline.pages() * PAGE));
    }
    let density = |stats: &Stats| stats.requested as f64 / total(stats) as f64;
    verdicts.at_least("after compaction: of packed density", density(&after) / density(&packed.stats()) * 100.0, 95.0, "%");
    verdicts.at_least("released of the pool as it was filled", (full - total(&after)) as f64 / full as f64 * 100.0, 45.6, "%");
    verdicts.at_least("released of what was left after the frees", released as f64 / total(&before) as f64 * 100.0, 45.6, "%");
    verdicts.at_most("objects moved, of a naive compactor's", moved as f64 / sliding.max(1) as f64, 0.66, "x");
    verdicts.at_most("objects moved, of zsmalloc's before 6.4", moved as f64 / two_groups.max(1) as f64, 0.66, "x");
    steps.sort();
    let at = |share: usize| steps[(steps.len() - 1) * share / 100].as_secs_f64() * 1e6;
    let _ = writeln!(
        text,
        "steps of {STEP} objects: median {:.0} us, p99 {:.0} us, longest {:.0} us, of {}",
        at(50),
        at(99),
        at(100),
        steps.len()
    );
    verdicts.at_most("a step of 256 objects, median", at(50), 200.0, "us");
    verdicts.at_most("a step of 256 objects, p99", at(99), 200.0, "us");
    Ok(())
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Objects of sizes drawn evenly from a range.
pub(super) fn drawn(count: usize, low: usize, high: usize) -> Packed {
    let (mut rng, mut packed) = (Rng::new(2049), Packed::default());
    let bytes = vec![1; high];
    (0..count).for_each(|_| packed.push(&bytes[..rng.between(low, high)]));
    packed
}

/// Reads: how long one takes, and how long the slowest of a thousand take with a compaction beside them.
pub(super) fn reads(objects: &Packed, text: &mut String, verdicts: &mut Verdicts) -> Result<()> {
    let pool = Zspool::new();
    let handles = fill(&pool, objects.iter())?;
    for (what, count) in [("1000 objects", 1000.min(handles.len())), ("all objects", handles.len())] {
        let mut best = f64::INFINITY;
        for round in 0..5 {
            let (mut rng, reads) = (Rng::new(round), 1_000_000);
            let order: Vec<_> = (0..4096).map(|_| handles[rng.below(count)]).collect();
            let clock = Instant::now();
            let mut sum = 0_u64;
            for index in 0..reads {
                sum += u64::from(pool.read(order[index % order.len()]).map(|object| object[0]).unwrap_or(0));
            }
            std::hint::black_box(sum);
            best = best.min(clock.elapsed().as_secs_f64() * 1e9 / reads as f64);
        }
        let _ = writeln!(text, "read of one of {what}, first byte included: {best:.1} ns");
        if count <= 1000 {
            verdicts.at_most("read, uncontended", best, 20.0, "ns");
        }
    }
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        reader_times(objects, &mut idle, &mut busy)?;
    }
    let (idle, busy) = (tail(&mut idle), tail(&mut busy));
    let _ = writeln!(text, "p99.9 of a read: {idle:.0} ns idle, {busy:.0} ns beside a compaction (the clock's own time included)");
    verdicts.at_most("readers' p99.9 beside a compaction, of idle", busy / idle, 2.0, "x");
    Ok(())
}

/// p99.9, in nanoseconds.
fn tail(times: &mut [Duration]) -> f64 {
    let at = times.len() * 999 / 1000;
    if times.is_empty() { f64::NAN } else { times.select_nth_unstable(at).1.as_secs_f64() * 1e9 }
}

/// Times of single reads on one CPU: of a pool of which 57 % were freed, while nobody else does anything, and while another CPU compacts it,
/// once, from beginning to end.
fn reader_times(objects: &Packed, idle: &mut Vec<Duration>, busy: &mut Vec<Duration>) -> Result<()> {
    let pool = Zspool::new();
    let mut handles = fill(&pool, objects.iter())?;
    for index in kept::freed(objects.len()) {
        pool.free(handles[index])?;
    }
    handles.retain(|handle| pool.size(*handle).is_ok());
    let done = AtomicBool::new(false);
    let (pool, handles, done) = (&pool, &handles, &done);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            crate::cpus::stay_on(0);
            let mut rng = Rng::new(99);
            let mut read = |times: &mut Vec<Duration>| {
                let handle = handles[rng.below(handles.len())];
                let clock = Instant::now();
                std::hint::black_box(pool.read(handle).map(|object| object[0]).unwrap_or(0));
                times.push(clock.elapsed());
            };
            (0..500_000).for_each(|_| read(idle));
            let compactor = scope.spawn(move || {
                crate::cpus::stay_on(1);
                while !pool.compact(Budget::objects(STEP)).done {}
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                read(busy);
            }
            ignore(compactor.join());
        });
        ignore(reader.join());
    });
    Ok(())
}
