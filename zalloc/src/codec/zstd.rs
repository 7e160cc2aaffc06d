//! Zstandard, for what is worth more time. The library is C: the feature needs a C compiler.

use super::Codec;
use zstd_safe::{CCtx, DCtx, compress_bound};

/// Zstandard of one level.
#[derive(Clone, Copy, Debug)]
pub struct Zstd {
    level: i32,
}

/// Names of the levels from 1 on.
const NAMES: [&str; 19] = [
    "zstd-1", "zstd-2", "zstd-3", "zstd-4", "zstd-5", "zstd-6", "zstd-7", "zstd-8", "zstd-9", "zstd-10", "zstd-11", "zstd-12",
    "zstd-13", "zstd-14", "zstd-15", "zstd-16", "zstd-17", "zstd-18", "zstd-19",
];

impl Zstd {
    /// Of `level`, which is brought into 1 to 19; 3 is the library's own choice.
    #[must_use]
    pub const fn level(level: i32) -> Self {
        Self {
            level: if level < 1 {
                1
            } else if level > NAMES.len() as i32 {
                NAMES.len() as i32
            } else {
                level
            },
        }
    }
}

/// Both contexts.
#[derive(Debug)]
pub struct Contexts {
    compressor: Compressor,
    decompressor: Decompressor,
}

struct Compressor(CCtx<'static>);
struct Decompressor(DCtx<'static>);

impl core::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CCtx")
    }
}

impl core::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DCtx")
    }
}

impl Codec for Zstd {
    type Work = Contexts;

    fn name(&self) -> &'static str {
        NAMES[(self.level - 1) as usize]
    }

    fn bound(&self, len: usize) -> usize {
        compress_bound(len)
    }

    /// The library allocates what a context needs when it is first used for inputs of a size: so it is used once here.
    fn work(&self, longest: usize) -> Option<Contexts> {
        let mut work = Contexts { compressor: Compressor(CCtx::try_create()?), decompressor: Decompressor(DCtx::try_create()?) };
        let zeros = [0; 4096];
        let mut packed = [0; 4096];
        let (len, mut plain) = (longest.min(zeros.len()), [0; 4096]);
        let written = self.compress(&mut work, &zeros[..len], &mut packed)?;
        self.decompress(&mut work, &packed[..written], &mut plain)?;
        Some(work)
    }

    fn compress(&self, work: &mut Contexts, from: &[u8], to: &mut [u8]) -> Option<usize> {
        work.compressor.0.compress(to, from, self.level).ok()
    }

    fn decompress(&self, work: &mut Contexts, from: &[u8], to: &mut [u8]) -> Option<usize> {
        work.decompressor.0.decompress(to, from).ok()
    }
}
