//! Why an operation was refused.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

/// Why there is no new object. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// No object has this size: 0, or more than [`MAX_SIZE`](super::MAX_SIZE).
    Size,
    /// The pool's limit would be exceeded.
    Limit,
    /// The page source has no memory, or the pool no address space.
    Memory,
}

/// Why a handle was not served. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandleError {
    /// No live object has this handle: it was freed, or never was of this pool.
    Stale,
    /// The bytes to write are more than the object has.
    TooLong,
    /// A write to an object that is being read, or a read of an object that 126 guards are reading already.
    Pinned,
}

impl Display for AllocError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.write_str(match self {
            Self::Size => "objects have 1 to 4096 bytes",
            Self::Limit => "the pool's limit is reached",
            Self::Memory => "out of memory",
        })
    }
}

impl Display for HandleError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.write_str(match self {
            Self::Stale => "no live object of this pool has this handle",
            Self::TooLong => "more bytes than the object has",
            Self::Pinned => "the object is being read",
        })
    }
}

impl Error for AllocError {}
impl Error for HandleError {}
