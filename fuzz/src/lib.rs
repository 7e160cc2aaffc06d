//! What the fuzz targets do with their input. A library, so that `cargo test` can replay inputs without a fuzzer.
//!
//! Each target's `run` decodes bytes into operations, carries them out on an allocator of its own, and panics when something is
//! wrong. Afterwards that allocator is gone, so that inputs do not see each other.

pub mod adapter;
pub mod caches;
pub mod conf;
pub mod pages;
pub mod slab;
pub mod slabinfo;
pub mod slob;
pub mod zcodec;
pub mod zspool;
pub mod ztmem;

mod decode;
mod ledger;
mod made;
mod world;
