//! hackbench and other allocator benchmarks: kmem beside its peers.
//!
//! The benchmarks and the harness are in `kmem_bench_core`; here are the peers and how each of them is set up.
#![deny(unsafe_op_in_unsafe_fn)]

mod peers;
#[cfg(feature = "rpmalloc")]
mod rpmalloc;
#[cfg(feature = "tcmalloc")]
mod tcmalloc;

use std::alloc::System;
use std::process::ExitCode;

static HEAP: kmem::Kmem = kmem::Kmem::new();
static SLAB: kmem::Kmem<kmem::Slab> = kmem::Kmem::over();
static SLOB: kmem::Kmem<kmem::Slob> = kmem::Kmem::over();
static MARKED: kmem::Kmem<kmem::MarkedSlob> = kmem::Kmem::over();

kmem_bench_core::switch! {
    Glibc = c"glibc" => System;
    Kmem = c"kmem" => HEAP;
    Slab = c"slab" => SLAB;
    Slob = c"slob" => SLOB;
    Marked = c"slob-marks" => MARKED;
    #[cfg(feature = "mimalloc")]
    Mimalloc = c"mimalloc" => mimalloc::MiMalloc;
    #[cfg(feature = "jemalloc")]
    Jemalloc = c"jemalloc" => tikv_jemallocator::Jemalloc;
    #[cfg(feature = "snmalloc")]
    Snmalloc = c"snmalloc" => snmalloc_rs::SnMalloc;
    #[cfg(feature = "rpmalloc")]
    Rpmalloc = c"rpmalloc" => rpmalloc::RpMalloc, rpmalloc::start;
    #[cfg(feature = "tcmalloc")]
    Tcmalloc = c"tcmalloc" => tcmalloc_better::TCMalloc, tcmalloc::start;
}

#[global_allocator]
static GLOBAL: Switch = Switch;

fn main() -> ExitCode {
    kmem_bench_core::run(&peers::PROGRAM)
}
