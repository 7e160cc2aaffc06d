//! The benchmarks of `kmem-bench`, its harness and its reports.
//!
//! A program made of this is its own contestant: for every run the harness starts it again, with the allocator named
//! in the environment, so that all that the child allocates (threads, channels, vectors) comes from that allocator.
//! [`switch!`] defines the global allocator of such a program and [`run`] is its main function.
#![deny(unsafe_op_in_unsafe_fn)]

mod bench;
mod block;
mod block_list;
mod charts;
mod cli;
mod compare;
mod contestant;
#[cfg_attr(not(feature = "count"), path = "count_off.rs")]
#[doc(hidden)]
pub mod count;
mod cpus;
mod crew;
mod footprint;
mod harness;
mod machine;
mod page;
mod params;
mod report;
mod rng;
mod rss;
mod session;
mod settle;
mod sizes;
mod slab;
mod stats;
#[doc(hidden)]
pub mod switch;
mod versus;
mod zpool;

use std::process::ExitCode;

pub use contestant::{Contestant, GLIBC, KMEM, KMEM_LOCKED, KMEM_MAGAZINES, KMEM_MARKED, KMEM_SLAB, KMEM_SLOB, Program, Setting};

/// The one error type: it is only ever shown.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
/// Result with that error.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Does what the command line asks for.
pub fn run(program: &'static Program) -> ExitCode {
    if bench::was_empty_program() {
        return ExitCode::SUCCESS;
    }
    cli::run(program, &cli::command().get_matches()).unwrap_or_else(|error| {
        eprintln!("kmem-bench: {error}");
        ExitCode::FAILURE
    })
}
