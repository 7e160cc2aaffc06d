#![doc = include_str!("../README.md")]

pub mod codec;
pub mod pool;
pub mod spool;
pub mod tmem;

pub use pool::Pool;
pub use spool::{AllocError, Budget, Builder, Class, Compaction, Handle, HandleError, ReadGuard, Stats, Zspool};
pub use tmem::Tmem;
