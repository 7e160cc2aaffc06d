//! Why a pool refuses.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

/// Why there is no such pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// The settings contradict each other, or the library (see [`Settings`](super::Settings)).
    Settings,
    /// There is no memory for what compressing needs.
    Memory,
}

/// Why bytes were not stored. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// No pool of this shape takes so many bytes.
    Length,
    /// They compress too little, and the pool does not keep such bytes ([`Incompressible`](super::Incompressible)).
    Incompressible,
    /// They compress less than the pool's mean has to be, and the mean leaves no room for that (theory 4.6).
    Mean,
    /// The limit is reached, or was, and what is used has not gone down to the threshold since (theory 4.6).
    Limit,
    /// The system has no memory.
    Memory,
}

/// Why bytes were not read, or not removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// The handle names nothing that the pool holds.
    Stale,
    /// The bytes to be written to are fewer than were stored.
    Short,
    /// What is stored is not what the codec has written: the handle was made up, or memory has been overwritten.
    Corrupt,
}

impl Display for CreateError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.write_str(match self {
            Self::Settings => "no pool can have these settings",
            Self::Memory => "no memory for the codecs",
        })
    }
}

impl Display for StoreError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.write_str(match self {
            Self::Length => "the pool takes no data of this length",
            Self::Incompressible => "the data compresses too little",
            Self::Mean => "the data compresses less than the pool's mean allows",
            Self::Limit => "the pool is full",
            Self::Memory => "out of memory",
        })
    }
}

impl Display for LoadError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.write_str(match self {
            Self::Stale => "the pool holds nothing of this handle",
            Self::Short => "the data is longer than the buffer",
            Self::Corrupt => "the stored data cannot be decompressed",
        })
    }
}

impl Error for CreateError {}
impl Error for StoreError {}
impl Error for LoadError {}
