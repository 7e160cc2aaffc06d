#![doc = include_str!("../README.md")]

pub mod spool;

pub use spool::{AllocError, Budget, Builder, Class, Compaction, Handle, HandleError, ReadGuard, Stats, Zspool};
