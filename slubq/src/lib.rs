#![no_std]
#![doc = include_str!("../README.md")]

pub mod geometry;
#[cfg(all(test, loom))]
mod loom_models;
#[cfg_attr(loom, allow(dead_code, reason = "the models use a part of it"))]
mod shard;
pub mod slab;

// What follows stands on statics and system calls, which loom cannot model.
#[cfg(not(loom))]
mod alloc;
#[cfg(not(loom))]
mod boot;
#[cfg(not(loom))]
mod cache;
#[cfg(not(loom))]
mod check;
#[cfg(not(loom))]
mod depot;
#[cfg(not(loom))]
mod free;
#[cfg(not(loom))]
mod info;
#[cfg(not(loom))]
mod objects;
#[cfg(not(loom))]
mod punch;
#[cfg(not(loom))]
mod reap;
#[cfg(not(loom))]
mod registry;
#[cfg(not(loom))]
mod reserve;
#[cfg(not(loom))]
mod slubq;
#[cfg(not(loom))]
mod stats;

#[cfg(not(loom))]
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
