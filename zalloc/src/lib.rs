#![doc = include_str!("../README.md")]

pub mod codec;
pub mod pool;
pub mod spool;

pub use pool::Pool;
pub use spool::{AllocError, Budget, Builder, Class, Compaction, Handle, HandleError, ReadGuard, Stats, Zspool};
