//! The children of `zpool`: a process that keeps compressed objects, in a `Zspool` or, as one does without, in a `Box<[u8]>` each on the
//! contestant. What counts is by how much the process grows.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use kmem_zalloc::{Budget, Handle, Zspool};

use super::corpus::{Packed, Stream};
use super::ignore;
use crate::bench::{Bench, Outcome, Row, Scale, Settled};
use crate::params::Params;
use crate::rng::Rng;
use crate::settle::settled_rss;
use crate::{Result, rss};

/// The benchmark: for children only.
pub(crate) struct Kept;

/// Of a hundred objects so many are freed.
pub(super) const FREED: usize = 57;

/// Where objects are kept.
trait Keeper {
    fn keep(&mut self, index: usize, object: &[u8]);
    fn free(&mut self, index: usize);
    fn settle(&mut self);
}

struct Boxes(Vec<Box<[u8]>>);

impl Keeper for Boxes {
    fn keep(&mut self, index: usize, object: &[u8]) {
        self.0[index] = object.into();
    }

    fn free(&mut self, index: usize) {
        self.0[index] = Box::default();
    }

    fn settle(&mut self) {
        black_box(Box::<[u8]>::from([1; 100]));
    }
}

struct Spool {
    pool: Zspool,
    handles: Vec<Option<Handle>>,
}

impl Keeper for Spool {
    fn keep(&mut self, index: usize, object: &[u8]) {
        self.handles[index] = self.pool.insert(object).ok();
    }

    fn free(&mut self, index: usize) {
        if let Some(handle) = self.handles[index].take() {
            ignore(self.pool.free(handle));
        }
    }

    fn settle(&mut self) {
        self.pool.compact(Budget::UNLIMITED);
        self.pool.trim();
    }
}

impl Bench for Kept {
    fn name(&self) -> &'static str {
        "zpool-kept"
    }

    fn about(&self) -> &'static str {
        "what a process takes for compressed objects (a part of zpool)"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        Ok([("spool", false), ("boxes", false), ("spool", true), ("boxes", true)]
            .map(|(keeper, replace)| row(keeper, MADE_UP, scale.pick(500, 5_000, 50_000), replace, scale))
            .into())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let objects = params.get("objects")?;
        let settle = Duration::from_millis(params.get("settle_ms")?);
        let mut stream = match params.get::<String>("file")?.as_str() {
            MADE_UP => made_up(objects)?,
            file => Stream::open(file)?,
        };
        let keeper: &mut dyn Keeper = match params.get::<String>("keeper")?.as_str() {
            "boxes" => &mut Boxes((0..objects).map(|_| Box::default()).collect()),
            "spool" => &mut Spool { pool: Zspool::new(), handles: vec![None; objects] },
            other => return Err(format!("no keeper '{other}'").into()),
        };
        let order = if params.get::<usize>("replace")? == 1 { shuffled(objects) } else { freed(objects) };
        // The file's pages and buffers are there before.
        while stream.next().is_some() {}
        stream.rewind()?;
        let before = rss::resident();
        let clock = Instant::now();
        let mut index = 0;
        while let Some(object) = stream.next() {
            keeper.keep(index, object);
            index += 1;
        }
        let time = clock.elapsed();
        let full = rss::resident();
        if params.get::<usize>("replace")? == 1 {
            stream.rewind()?;
            let mut places = order.iter();
            while let (Some(object), Some(place)) = (stream.next(), places.next()) {
                keeper.free(*place);
                keeper.keep(*place, object);
            }
        } else {
            order.into_iter().for_each(|index| keeper.free(index));
        }
        let after = settled_rss(settle, || keeper.settle());
        Ok(Outcome { time, settled: Some(Settled { rss: after.saturating_sub(before), live: Some(full.saturating_sub(before)) }) })
    }
}

/// Stands for a file with objects of random sizes.
const MADE_UP: &str = "made-up";

/// That file, which has no name any more.
fn made_up(objects: usize) -> Result<Stream> {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let name = format!("kmem-bench-kept-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let (mut packed, mut rng) = (Packed::default(), Rng::new(1));
    (0..objects).for_each(|_| packed.push(&vec![1; rng.between(100, 4096)]));
    packed.save(&path)?;
    let stream = Stream::open(&path.to_string_lossy());
    std::fs::remove_file(&path)?;
    stream
}

/// A row for the objects in `file`: after they are there, most of them are freed; or each is replaced by another one of them.
pub(super) fn row(keeper: &str, file: &str, objects: usize, replace: bool, scale: Scale) -> Row {
    let name = if replace { format!("{keeper}, replaced") } else { keeper.to_owned() };
    let row = Row::new(name).with("keeper", keeper).with("file", file).with("objects", objects);
    row.with("replace", u8::from(replace)).with("settle_ms", scale.pick(10, 2_000, 2_000))
}

/// Which objects are freed, in which order: the same everywhere.
pub(super) fn freed(objects: usize) -> Vec<usize> {
    let mut order = shuffled(objects);
    order.truncate(objects * FREED / 100);
    order
}

fn shuffled(objects: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..objects).collect();
    let mut rng = Rng::new(57);
    (1..objects).rev().for_each(|last| order.swap(last, rng.below(last + 1)));
    order
}
