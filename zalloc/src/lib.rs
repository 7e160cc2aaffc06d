#![doc = include_str!("../README.md")]

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
