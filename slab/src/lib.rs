#![no_std]
#![doc = include_str!("../README.md")]

mod alloc;
mod array;
mod boot;
mod cache;
mod check;
mod config;
mod debug;
mod depot;
mod epoch;
#[cfg(all(test, loom))]
#[path = "../../base/src/sync/explore.rs"]
mod explore;
mod free;
pub mod geometry;
mod grow;
mod info;
#[cfg(all(test, loom))]
mod loom_depot;
#[cfg(all(test, loom))]
mod loom_lives;
#[cfg(all(test, loom))]
mod loom_models;
mod magazine;
mod mempool;
mod node;
mod reap;
mod registry;
mod shared;
mod shrink;
mod slab;
mod slabref;
mod stats;
#[cfg(not(loom))]
mod system;
#[cfg(not(loom))]
mod typed;
mod visit;

pub use kmem_base::typed::{AllocError, Constructed, Plain};
pub use {
    cache::{Constructor, Destructor, Flags, Front, RawCache, Spec},
    check::Broken,
    debug::Damage,
    epoch::Pinned,
    info::{CacheInfo, TuneLineError},
    mempool::{Element, Mempool},
    reap::Reaped,
    registry::{Busy, CreateError, DebugError, Live, TuneError},
    slab::Slab,
    stats::Counters,
};
#[cfg(not(loom))]
pub use {
    system::system,
    typed::{Builder, Cache, Destroyed, Object},
};
