//! Codecs: what makes bytes fewer, and back (theory 4.2).

mod level;
mod lz4;
#[cfg(feature = "zstd")]
mod zstd;

pub use level::AnyCodec;
pub(crate) use level::Level;
pub use lz4::Lz4;
#[cfg(feature = "zstd")]
pub use zstd::Zstd;

use core::fmt::Debug;

/// A way to compress.
///
/// One value serves all threads; what a single compression needs besides input and output is in its [`Work`](Self::Work), which a
/// pool makes when it is created, one for each thread that may compress at the same time.
pub trait Codec: Debug + Sync + 'static {
    /// Working memory.
    type Work: Send;

    /// Name of the codec and of its settings: a backing file whose pages were written with other names is not read.
    fn name(&self) -> &'static str;

    /// Bytes that `len` bytes may become at worst; [`compress`](Self::compress) is given as many to write to.
    fn bound(&self, len: usize) -> usize;

    /// Working memory for inputs of up to `longest` bytes; nothing if there is no memory.
    fn work(&self, longest: usize) -> Option<Self::Work>;

    /// Writes `from`, compressed, to the beginning of `to` and says how many bytes that took; nothing if it cannot.
    fn compress(&self, work: &mut Self::Work, from: &[u8], to: &mut [u8]) -> Option<usize>;

    /// The reverse. `from` may be anything; nothing if it is not what [`compress`](Self::compress) writes, or is too long for `to`.
    /// What `to` holds then does not matter.
    fn decompress(&self, work: &mut Self::Work, from: &[u8], to: &mut [u8]) -> Option<usize>;
}
