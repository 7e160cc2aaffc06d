//! thrash: active false sharing, Emery Berger's `cache-thrash`.
//!
//! Each worker allocates a small block, writes it many times and frees it, over and over. An allocator that carves
//! the blocks of several processors out of one cache line makes them fight for it.

use clap::ArgMatches;

use super::scratch::{Load, rows};
use super::{Bench, Outcome, Row, Scale};
use crate::Result;
use crate::crew::{Job, Kind, race};
use crate::params::Params;

/// The benchmark.
pub(crate) struct Thrash;

impl Bench for Thrash {
    fn name(&self) -> &'static str {
        "thrash"
    }

    fn about(&self) -> &'static str {
        "active false sharing: small blocks allocated, written and freed by several threads at once"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        Ok(rows(scale))
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let load = Load::read(params)?;
        let job = |_| -> Job<'_> {
            Box::new(move |line| {
                line.wait();
                load.write();
            })
        };
        Ok(race(Kind::Threads, (0..load.threads).map(job).collect())?.into())
    }
}
