#![no_std]
#![doc = include_str!("../README.md")]

// For the keyed store and the cache: files, hash seeds, and vectors that may be refused.
extern crate std;

pub mod cache;
pub mod codec;
#[cfg(all(test, loom))]
#[path = "../../base/src/sync/explore.rs"]
mod explore;
pub mod pool;
pub mod spool;
pub mod tmem;

pub use cache::CompressedCache;
pub use pool::Pool;
pub use spool::{AllocError, Broken, Budget, Builder, ClassStats, Compaction, Handle, HandleError, ReadGuard, Stats, Zspool};
pub use tmem::Tmem;
