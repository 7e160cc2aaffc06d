//! Objects behind handles: size classes, spans, slots, compaction (theory 3).

mod builder;
mod check;
mod classes;
mod compact;
mod config;
mod error;
mod guard;
mod handle;
mod inner;
#[cfg(all(test, loom))]
mod loom_models;
mod punch;
mod quota;
mod region;
mod shard;
mod shards;
mod slots;
mod span;
mod stats;
mod supply;
#[cfg_attr(loom, path = "tag_model.rs")]
mod tag;
mod word;
mod zspool;

pub use builder::Builder;
pub use check::Broken;
pub use compact::{Budget, Compaction};
pub use config::MAX_SIZE;
pub use error::{AllocError, HandleError};
pub use guard::ReadGuard;
pub use handle::Handle;
pub use stats::{ClassStats, Stats};
pub use zspool::Zspool;
