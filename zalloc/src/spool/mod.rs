//! Objects behind handles: size classes, spans, slots, compaction (theory 3).

mod error;
mod handle;
mod simple;

pub use error::{AllocError, HandleError};
pub use handle::Handle;
pub use simple::{Budget, Builder, Class, Compaction, ReadGuard, Stats, Zspool};

/// Largest object, in bytes.
pub const MAX_SIZE: usize = 4096;
