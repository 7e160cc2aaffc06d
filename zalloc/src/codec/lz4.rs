//! LZ4, the codec of every pool that asks for no other: a page in a few microseconds.

use super::Codec;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

/// LZ4 blocks, by `lz4_flex` with all its checks. Has no settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lz4;

/// From this length on the codec's table needs positions of 32 bits.
const LARGE: usize = u16::MAX as usize;

impl Codec for Lz4 {
    type Work = CompressTable;

    fn name(&self) -> &'static str {
        "lz4"
    }

    fn bound(&self, len: usize) -> usize {
        get_maximum_output_size(len)
    }

    fn work(&self, longest: usize) -> Option<CompressTable> {
        Some(if longest < LARGE { CompressTable::small() } else { CompressTable::large() })
    }

    fn compress(&self, work: &mut CompressTable, from: &[u8], to: &mut [u8]) -> Option<usize> {
        compress_into_with_table(from, to, work).ok()
    }

    fn decompress(&self, _work: &mut CompressTable, from: &[u8], to: &mut [u8]) -> Option<usize> {
        decompress_into(from, to).ok()
    }
}
