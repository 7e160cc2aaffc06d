#![doc = include_str!("../README.md")]

pub mod spool;

pub use spool::{AllocError, Broken, Budget, Builder, ClassStats, Compaction, Handle, HandleError, ReadGuard, Stats, Zspool};
