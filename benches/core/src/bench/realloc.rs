//! realloc: what grows. One huge vector, many small vectors, many strings.

use std::hint::black_box;

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale};
use crate::crew::{Job, Kind, race};
use crate::params::Params;
use crate::rng::Rng;
use crate::{Result, sizes};

/// The benchmark.
pub(crate) struct Realloc;

/// Shape, name, amount of work in quick and in full.
const ROWS: &[(&str, &str, usize, usize)] = &[
    // Bytes.
    ("huge", "one vector filled to 1 GiB", 256 << 20, 1 << 30),
    // Rounds.
    ("vectors", "2000 vectors grown by pushes", 25, 100),
    // Growths.
    ("strings", "4096 strings grown from 8 B to 4 KiB", 1_000_000, 8_000_000),
];

impl Bench for Realloc {
    fn name(&self) -> &'static str {
        "realloc"
    }

    fn about(&self) -> &'static str {
        "growth of one huge vector, of many small ones, of strings"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let row = |&(shape, name, quick, full): &(&str, &str, usize, usize)| {
            let tiny = if shape == "huge" { 1 << 20 } else { 2 };
            let name = if scale == Scale::Full { name.to_owned() } else { name.replace("1 GiB", "256 MiB") };
            Row::new(name).with("shape", shape).with("work", scale.pick(tiny, quick, full))
        };
        Ok(ROWS.iter().map(row).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let work = params.get("work")?;
        let shape: String = params.get("shape")?;
        let job = match shape.as_str() {
            "huge" => huge(work),
            "vectors" => vectors(work),
            "strings" => strings(work),
            _ => return Err(format!("no shape '{shape}'").into()),
        };
        Ok(race(Kind::Threads, vec![job])?.into())
    }
}

/// Fills a vector as a reader does, chunk by chunk; the vector doubles when it is full.
fn huge(bytes: usize) -> Job<'static> {
    Box::new(move |line| {
        let chunk = vec![1_u8; 16 << 10];
        line.wait();
        let mut file = Vec::new();
        while file.len() < bytes {
            file.extend_from_slice(black_box(&chunk));
        }
        black_box(&file);
    })
}

/// Each round, vectors without capacity get pushes in random order, and are dropped.
fn vectors(rounds: usize) -> Job<'static> {
    const VECTORS: usize = 2_000;
    const PUSHES: usize = 200 * VECTORS;
    Box::new(move |line| {
        let mut rng = Rng::new(0);
        let order = sizes::uniform(&mut rng, (0, VECTORS - 1), PUSHES);
        let mut set: Vec<Vec<u64>> = vec![Vec::new(); VECTORS];
        line.wait();
        for _ in 0..rounds {
            for (value, &vector) in order.iter().enumerate() {
                set[vector as usize].push(value as u64);
            }
            black_box(&set);
            set.fill_with(Vec::new);
        }
    })
}

/// Random strings grow by a little, each time to exactly what they need; one that is full starts again.
fn strings(growths: usize) -> Job<'static> {
    const STRINGS: usize = 4_096;
    const FULL: usize = 4_096;
    const WORD: &str = "the quick brown fox jumps over the lazy dog, and all of them live on.";
    Box::new(move |line| {
        let mut rng = Rng::new(0);
        let mut set: Vec<String> = (0..STRINGS).map(|_| String::from("01234567")).collect();
        line.wait();
        for _ in 0..growths {
            let string = &mut set[rng.below(STRINGS)];
            let more = &WORD[..8 + rng.below(WORD.len() - 8)];
            if string.len() + more.len() > FULL {
                *string = String::from("01234567");
            }
            string.reserve_exact(more.len());
            string.push_str(more);
        }
        black_box(&set);
    })
}
