//! A mix as of a system's start: mostly small objects, some pages, some large tables; a third of what is allocated goes again soon, some of
//! the rest later. Processes that build it, each on one contestant: by how much they grow, and what they keep when all of it is freed.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::ArgMatches;

use super::Run;
use crate::Result;
use crate::bench::{Bench, Outcome, Row, Scale, Settled};
use crate::contestant::{Contestant, GLIBC, KMEM, KMEM_SLAB, KMEM_SLOB};
use crate::harness::{Harness, Task};
use crate::params::Params;
use crate::rng::Rng;
use crate::settle::settled_rss;
use crate::slab::markdown::section;
use crate::slab::verdict;

/// The benchmark: for children only.
pub(crate) struct Boot;

const ALL: [&Contestant; 4] = [&KMEM_SLOB, &KMEM, &KMEM_SLAB, &GLIBC];

/// What may be resident of what is live, and of what the others take.
const OF_LIVE: f64 = 1.06;
const OF_OTHERS: f64 = 0.90;
/// Blocks among which one goes early.
const RECENT: usize = 500;
/// Bytes of a mix before the first look.
const WARM: usize = 64 << 10;

/// A live block.
type Block = (*mut u8, Layout);

/// The size of an object.
fn size(rng: &mut Rng) -> usize {
    match rng.below(100) {
        0..=29 => rng.between(8, 64),
        30..=49 => rng.between(65, 256),
        50..=61 => 192,
        62..=71 => rng.between(560, 620),
        72..=81 => rng.between(257, 1024),
        82..=91 => rng.between(1025, 2100),
        92..=97 => 4096,
        _ => rng.between(4097, 20_000),
    }
}

/// Allocates and frees until `live` bytes are.
fn build(blocks: &mut Vec<Block>, live: usize) -> usize {
    let (mut rng, mut bytes) = (Rng::new(2005), 0);
    while bytes < live {
        let layout = Layout::from_size_align(size(&mut rng), 8).expect("a small layout");
        // SAFETY: not empty; written within its size.
        unsafe {
            let at = alloc(layout);
            assert!(!at.is_null(), "no memory");
            at.write_bytes(1, layout.size());
            blocks.push((at, layout));
        }
        bytes += layout.size();
        let goes = match rng.below(100) {
            0..=32 => blocks.len() - 1 - rng.below(blocks.len().min(RECENT)),
            33..=42 => rng.below(blocks.len()),
            _ => continue,
        };
        let (at, layout) = blocks.swap_remove(goes);
        // SAFETY: live.
        unsafe { dealloc(at, layout) };
        bytes -= layout.size();
    }
    bytes
}

fn free(blocks: &mut Vec<Block>) {
    // SAFETY: live, and forgotten.
    blocks.drain(..).for_each(|(at, layout)| unsafe { dealloc(at, layout) });
}

/// A sign of life, upon which an allocator may look at its clock.
fn live_on() {
    black_box(Box::<[u8]>::from([1; 100]));
}

impl Bench for Boot {
    fn name(&self) -> &'static str {
        "footprint-boot"
    }

    fn about(&self) -> &'static str {
        "what a process takes for a mix as of a system's start (a part of footprint)"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        Ok([false, true].map(|freed| row(freed, scale)).into())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let live = params.get::<usize>("kib")? << 10;
        let settle = Duration::from_millis(params.get("settle_ms")?);
        // The list's memory is there before, and so is all code that will run.
        let mut blocks: Vec<Block> = vec![(std::ptr::null_mut(), Layout::new::<u8>()); live / 100 + RECENT];
        blocks.clear();
        build(&mut blocks, WARM);
        free(&mut blocks);
        let before = settled_rss(settle, live_on);
        let clock = Instant::now();
        let bytes = build(&mut blocks, live);
        if params.get::<usize>("free")? == 1 {
            free(&mut blocks);
        }
        let time = clock.elapsed();
        let after = settled_rss(settle, live_on);
        Ok(Outcome { time, settled: Some(Settled { rss: after.saturating_sub(before), live: Some(bytes as u64) }) })
    }
}

fn row(freed: bool, scale: Scale) -> Row {
    let row = Row::new(if freed { "freed" } else { "live" }.to_owned()).with("kib", scale.pick(256, 28 << 10, 28 << 10));
    row.with("free", usize::from(freed)).with("settle_ms", scale.pick(10, 500, 2_000))
}

pub(super) fn report(run: &Run<'_>) -> Result<String> {
    let tasks: Vec<_> = [false, true].map(|freed| Task { bench: &Boot, row: row(freed, run.scale) }).into();
    let results = Harness { contestants: &ALL, common: run.program.common, runs: run.runs }.measure(&tasks, |_| ());
    let mut all = results.iter().flat_map(|row| &row.entries);
    if let Some(failure) = all.find_map(|entry| entry.failure.clone()) {
        return Err(failure.into());
    }
    let figure = |row: usize, alloc: usize| results[row].entries[alloc].settled_rss().unwrap_or(f64::NAN);
    let (slob, live) = (figure(0, 0), results[0].entries[0].live().unwrap_or(f64::NAN));
    let lines = ALL.iter().enumerate().map(|(index, contestant)| {
        let of_live = figure(0, index) / live;
        let reached = match index {
            0 => verdict(of_live <= OF_LIVE),
            3 => String::new(),
            _ => verdict(slob / figure(0, index) <= OF_OTHERS),
        };
        vec![
            contestant.name.to_owned(),
            format!("{:.0}", figure(0, index) / 1024.0),
            format!("{of_live:.3}"),
            format!("{:.3}", slob / figure(0, index)),
            reached,
            format!("{:.0}", figure(1, index) / 1024.0),
        ]
    });
    let lines: Vec<_> = lines.collect();
    let about = format!(
        "{:.0} KiB live in objects as of a system's start, a process per contestant and run, medians of {}. Growth of the resident set, settled. \
         Targets: slob at most {OF_LIVE} of what is live, and at most {OF_OTHERS} of slubq (`kmem`) and slab. `kept`: the same when all is freed.",
        live / 1024.0,
        run.runs
    );
    let head = ["", "resident, KiB", "of live", "slob of it", "target", "kept, KiB"];
    Ok(section("Mix of a system's start", &about, &head, &lines))
}
