//! What kind of pool it is.

use super::CreateError;
use crate::codec::{AnyCodec, Lz4};

/// Longest data, in bytes.
pub const LONGEST: usize = 1 << 20;
/// Shortest page, in bytes.
pub const SHORTEST_PAGE: usize = 64;
/// Codecs of one pool at most.
pub const MOST_CODECS: usize = 4;

/// Which lengths a pool takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Pages: data of exactly this length, of [`SHORTEST_PAGE`] to [`LONGEST`].
    Pages(usize),
    /// Buffers: any length up to this one, of 1 to [`LONGEST`].
    Buffers(usize),
}

/// What becomes of data that compresses too little. Decided when it is stored, and read off the lengths when it is loaded: no
/// setting has to be as it was then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incompressible {
    /// It is refused.
    Reject,
    /// It is stored as it is.
    KeepRaw,
}

/// Settings of a pool. Shares are in thousandths of the data's length.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Lengths.
    pub shape: Shape,
    /// Codecs, one to [`MOST_CODECS`]: the first is used when data is stored, the others by [`recompress`](super::Pool::recompress).
    pub codecs: &'static [&'static dyn AnyCodec],
    /// What becomes of data that compresses to more than [`worthwhile`](Self::worthwhile).
    pub incompressible: Incompressible,
    /// Data that becomes no smaller than this counts as incompressible. zcache: 875.
    pub worthwhile: u16,
    /// Data that becomes more than this is stored only while the mean of all is below it; 1000 is no such rule. zcache: 625.
    pub mean: u16,
    /// Most bytes of memory for objects, without metadata and working memory.
    pub limit: usize,
    /// Once the limit was reached, in percent: nothing is stored until no more than so much of it is used. zswap: 90.
    pub accept: u8,
    /// Threads that may compress at the same time; others wait. 0: twice as many as there are CPUs.
    pub workers: usize,
}

impl Settings {
    /// Pages of 4096 bytes in LZ4; what does not compress by an eighth is kept as it is; no limit.
    #[must_use]
    pub const fn pages() -> Self {
        Self {
            shape: Shape::Pages(4096),
            codecs: &[&Lz4],
            incompressible: Incompressible::KeepRaw,
            worthwhile: 875,
            mean: 1000,
            limit: usize::MAX,
            accept: 90,
            workers: 0,
        }
    }

    /// Buffers of up to `longest` bytes, the rest as above.
    #[must_use]
    pub const fn buffers(longest: usize) -> Self {
        Self { shape: Shape::Buffers(longest), ..Self::pages() }
    }

    pub(super) fn verify(&self) -> Result<(), CreateError> {
        let shape = match self.shape {
            Shape::Pages(len) => (SHORTEST_PAGE..=LONGEST).contains(&len),
            Shape::Buffers(longest) => (1..=LONGEST).contains(&longest),
        };
        let codecs = (1..=MOST_CODECS).contains(&self.codecs.len());
        let shares = self.worthwhile <= 1000 && self.mean <= 1000 && self.accept <= 100;
        if shape && codecs && shares { Ok(()) } else { Err(CreateError::Settings) }
    }
}

impl Shape {
    /// The longest data.
    #[must_use]
    pub const fn longest(self) -> usize {
        match self {
            Self::Pages(len) | Self::Buffers(len) => len,
        }
    }

    /// Whether data of this length can be stored.
    #[must_use]
    pub const fn takes(self, len: usize) -> bool {
        match self {
            Self::Pages(page) => len == page,
            Self::Buffers(longest) => len <= longest,
        }
    }
}
