//! Why the store refuses.

use crate::pool::{CreateError, StoreError};
use core::error::Error;
use core::fmt::{Display, Formatter, Result};

/// Why there is no such store.
#[derive(Debug)]
pub enum BuildError {
    /// The pool.
    Pool(CreateError),
    /// The index.
    Memory,
    /// The backing file.
    Backing(std::io::Error),
}

/// Why there is no such pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolError {
    /// There are as many as there can be.
    TooMany,
    /// A shared pool of that name exists, with another lifetime; or the name is none.
    Name,
}

/// Why a page was not put. An older copy of it, if there was one, is gone: no get returns it any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutError {
    /// There is no such pool (any more). Nothing has changed.
    NoPool,
    /// The compressed pool has refused, and nothing could be evicted or written back in its favour.
    Store(StoreError),
    /// There is no memory for the index.
    Memory,
}

/// Why a page was not got, although it may be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GetError {
    /// There is no such pool (any more).
    NoPool,
    /// The page is longer than the buffer. It stays where it is.
    Short,
    /// The page was written to the backing file, and the file does not have it any more, or not whole. So for this page until it is
    /// put anew or flushed; other pages are not concerned.
    Lost,
}

impl Display for BuildError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        match self {
            Self::Pool(error) => error.fmt(to),
            Self::Memory => to.write_str("no memory for the index"),
            Self::Backing(error) => error.fmt(to),
        }
    }
}

impl Display for PoolError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.write_str(match self {
            Self::TooMany => "too many pools",
            Self::Name => "no shared pool can have this name",
        })
    }
}

impl Display for PutError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        match self {
            Self::NoPool => to.write_str("no such pool"),
            Self::Store(error) => error.fmt(to),
            Self::Memory => to.write_str("no memory for the index"),
        }
    }
}

impl Display for GetError {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.write_str(match self {
            Self::NoPool => "no such pool",
            Self::Short => "the page is longer than the buffer",
            Self::Lost => "the backing file has lost the page",
        })
    }
}

impl Error for BuildError {}
impl Error for PoolError {}
impl Error for PutError {}
impl Error for GetError {}
