//! The benchmarks on kmem and glibc alone: what the tests run, and no C to compile.

use std::alloc::System;

use kmem_bench_core::{GLIBC, KMEM, KMEM_LOCKED, KMEM_MAGAZINES, KMEM_MARKED, KMEM_SLAB, KMEM_SLOB, Program};

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
}

#[global_allocator]
static GLOBAL: Switch = Switch;

static PROGRAM: Program =
    Program { contestants: &[KMEM, KMEM_LOCKED, KMEM_SLAB, KMEM_MAGAZINES, KMEM_SLOB, KMEM_MARKED, GLIBC], common: &[] };

fn main() -> std::process::ExitCode {
    kmem_bench_core::run(&PROGRAM)
}
