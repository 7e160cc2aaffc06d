//! A mix as of a system's start: mostly small objects, some pages, some large tables; a third of what is allocated goes again soon, some of
//! the rest later. Processes that build it, each on one contestant: by how much they grow, and what they keep when all of it is freed. The
//! same mix is built in several sizes, since what an allocator takes beside its objects weighs more in a small system.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::ArgMatches;

use super::Run;
use crate::Result;
use crate::bench::{Bench, Outcome, Row, Scale, Settled};
use crate::contestant::{Contestant, GLIBC, KMEM, KMEM_MARKED, KMEM_SLAB, KMEM_SLOB};
use crate::harness::{Harness, Task};
use crate::params::Params;
use crate::rng::Rng;
use crate::rss;
use crate::settle::settle;
use crate::slab::markdown::section;
use crate::slab::verdict;

/// The benchmark: for children only.
pub(crate) struct Boot;

const ALL: [&Contestant; 5] = [&KMEM_SLOB, &KMEM, &KMEM_SLAB, &GLIBC, &KMEM_MARKED];

/// What may be resident of what is live, and of what the others take.
const OF_LIVE: f64 = 1.06;
const OF_OTHERS: f64 = 0.90;
/// Blocks among which one goes early.
const RECENT: usize = 500;
/// Live KiB of the mixes; by the last the tables are judged.
const KIB: [usize; 5] = [1 << 10, 2 << 10, 4 << 10, 8 << 10, 28 << 10];
/// The same where nothing is to be learned but that it works.
const TINY: [usize; 5] = [64, 96, 128, 192, 256];

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
        Ok(rows(scale))
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let live = params.get::<usize>("kib")? << 10;
        let pause = Duration::from_millis(params.get("settle_ms")?);
        // The list's memory is there before.
        let mut blocks: Vec<Block> = vec![(std::ptr::null_mut(), Layout::new::<u8>()); live / 100 + RECENT];
        blocks.clear();
        settle(pause, live_on);
        let before = rss::anonymous();
        let clock = Instant::now();
        let bytes = build(&mut blocks, live);
        if params.get::<usize>("free")? == 1 {
            free(&mut blocks);
        }
        let time = clock.elapsed();
        settle(pause, live_on);
        let after = rss::anonymous();
        Ok(Outcome { time, settled: Some(Settled { rss: after.saturating_sub(before), live: Some(bytes as u64) }) })
    }
}

fn row(kib: usize, freed: bool, scale: Scale) -> Row {
    let row = Row::new(if freed { "freed".to_owned() } else { format!("{kib} KiB") });
    row.with("kib", kib).with("free", usize::from(freed)).with("settle_ms", scale.pick(10, 500, 2_000))
}

/// A mix of each size, and the largest once more, freed.
fn rows(scale: Scale) -> Vec<Row> {
    let sizes = if scale == Scale::Tiny { TINY } else { KIB };
    let freed = row(sizes[sizes.len() - 1], true, scale);
    sizes.iter().map(|kib| row(*kib, false, scale)).chain([freed]).collect()
}

pub(super) fn report(run: &Run<'_>) -> Result<String> {
    let tasks: Vec<_> = rows(run.scale).into_iter().map(|row| Task { bench: &Boot, row }).collect();
    let results = Harness { contestants: &ALL, common: run.program.common, runs: run.runs }.measure(&tasks, |_| ());
    let mut all = results.iter().flat_map(|row| &row.entries);
    if let Some(failure) = all.find_map(|entry| entry.failure.clone()) {
        return Err(failure.into());
    }
    let figures = Figures {
        live: results.iter().map(|row| row.entries[0].live().unwrap_or(f64::NAN)).collect(),
        resident: results
            .iter()
            .map(|row| row.entries.iter().map(|entry| entry.settled_rss().unwrap_or(f64::NAN)).collect())
            .collect(),
    };
    Ok(format!("{}\n{}", figures.largest(run.runs), figures.sizes(run.runs)))
}

/// Bytes, by row and contestant.
struct Figures {
    live: Vec<f64>,
    resident: Vec<Vec<f64>>,
}

impl Figures {
    /// The largest mix: beside what is live, beside the others, and freed.
    fn largest(&self, runs: usize) -> String {
        let (row, freed) = (KIB.len() - 1, KIB.len());
        let lines = ALL.iter().enumerate().map(|(index, contestant)| {
            let (own, of_live) = (self.resident[row][index], self.resident[row][index] / self.live[row]);
            let reached = match index {
                0 => verdict(of_live <= OF_LIVE),
                3 => String::new(),
                4 => verdict(of_live <= OF_LIVE),
                _ => verdict(self.resident[row][0] / own <= OF_OTHERS),
            };
            let of_it = format!("{:.3}", self.resident[row][0] / own);
            vec![contestant.name.to_owned(), kib(own), format!("{of_live:.3}"), of_it, reached, kib(self.resident[freed][index])]
        });
        let about = format!(
            "{} KiB live in objects as of a system's start, a process per contestant and run, medians of {runs}. Growth of the resident memory that no file backs, \
             settled. Targets: slob at most {OF_LIVE} of what is live, and at most {OF_OTHERS} of slubq (`kmem`) and slab. `kept`: the same when \
             all is freed.",
            kib(self.live[row]),
        );
        let head = ["", "resident, KiB", "of live", "slob of it", "target", "kept, KiB"];
        section("Mix of a system's start", &about, &head, &lines.collect::<Vec<_>>())
    }

    /// All sizes: how the share of what is not live shrinks as the mix grows.
    fn sizes(&self, runs: usize) -> String {
        let lines = self.live.iter().zip(&self.resident).take(KIB.len()).map(|(live, resident)| {
            let grown = resident.iter().map(|bytes| format!("{} ({:.3})", kib(*bytes), bytes / live));
            let least = resident[1].min(resident[2]);
            let of_it = resident[1..].iter().map(|other| format!("{:.3}", resident[0] / other));
            let judged = verdict(resident[0] / least <= OF_OTHERS);
            [kib(*live)].into_iter().chain(grown).chain(of_it).chain([judged]).collect::<Vec<_>>()
        });
        let about = format!(
            "The same mix, built up to less. Growth in KiB, and of what is live; medians of {runs}. Target: slob at most \
             {OF_OTHERS} of both slubq (`kmem`) and slab."
        );
        let of = ALL[1..].iter().map(|contestant| format!("slob of {}", contestant.name));
        let head: Vec<_> = ["live, KiB".to_owned()]
            .into_iter()
            .chain(ALL.map(|contestant| contestant.name.to_owned()))
            .chain(of)
            .chain(["target".to_owned()])
            .collect();
        let head: Vec<_> = head.iter().map(String::as_str).collect();
        section("Mix of a system's start, by size", &about, &head, &lines.collect::<Vec<_>>())
    }
}

fn kib(bytes: f64) -> String {
    format!("{:.0}", bytes / 1024.0)
}
