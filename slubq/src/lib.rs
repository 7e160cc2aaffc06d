#![no_std]
#![doc = include_str!("../README.md")]

mod alloc;
mod boot;
mod cache;
mod check;
mod depot;
#[cfg(all(test, loom))]
#[path = "../../base/src/sync/explore.rs"]
mod explore;
mod flush;
mod free;
pub mod geometry;
mod info;
#[cfg(all(test, loom))]
mod loom_caches;
#[cfg(all(test, loom))]
mod loom_models;
mod objects;
mod punch;
mod put;
mod reap;
mod registry;
mod reserve;
mod shard;
pub mod slab;
mod slubq;
mod stats;
mod unknown;

pub use {
    alloc::Context,
    cache::{Cache, Constructor, Destructor, Flags, Spec, Tunable},
    check::Broken,
    info::{CacheInfo, Retained},
    reap::Level,
    registry::{Busy, CreateError, TuneError},
    reserve::Reservation,
    slubq::Slubq,
    stats::Counters,
};
