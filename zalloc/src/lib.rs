#![doc = include_str!("../README.md")]

#[cfg(all(test, loom))]
#[path = "../../base/src/sync/explore.rs"]
mod explore;
pub mod spool;

pub use spool::{AllocError, Broken, Budget, Builder, ClassStats, Compaction, Handle, HandleError, ReadGuard, Stats, Zspool};
