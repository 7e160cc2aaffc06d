//! Contents of live blocks: fill, verify, and the check for zeroes.
//!
//! The pattern is a slice of one static table of random non-zero bytes, at a
//! phase given by the block's seed. Filling and verifying are therefore
//! `memcpy` and `memcmp`, which are fast even in unoptimised builds. The
//! period is prime, so two pages of one block never look alike by accident
//! (that shows pages swapped or shifted by a move).

use crate::rng::SplitMix64;
use crate::violation::Mismatch;
use std::slice;

/// Blocks larger than this are filled and verified by samples only: the first
/// and last 64 bytes of every 4096 and the last 64 bytes of the block.
pub const SAMPLE_ABOVE: usize = 1 << 20;

const PAGE: usize = 4096;
const EDGE: usize = 64;
const PERIOD: usize = 65521;

/// One page longer than the period, so that no window wraps around.
static TABLE: [u8; PERIOD + PAGE] = table();
static ZEROES: [u8; PAGE] = [0; PAGE];

const fn table() -> [u8; PERIOD + PAGE] {
    let mut table = [0; PERIOD + PAGE];
    let mut rng = SplitMix64::new(0x6b6d_656d);
    let mut i = 0;
    while i < PERIOD {
        // No zeroes: a stray zero is the most likely corruption of all.
        let byte = (rng.next_u64() >> 32) as u8;
        table[i] = if byte == 0 { 0x5b } else { byte };
        i += 1;
    }
    while i < PERIOD + PAGE {
        table[i] = table[i - PERIOD];
        i += 1;
    }
    table
}

/// The `len` (at most a page) bytes that belong at `offset`.
fn expected(seed: u64, offset: usize, len: usize) -> &'static [u8] {
    let phase = (seed % PERIOD as u64) as usize;
    let start = (phase + offset) % PERIOD;
    &TABLE[start..start + len]
}

/// Calls `visit(offset, len)` for each window of a block of `size` bytes that
/// lies in its first `upto` bytes; the last window is clipped to `upto`.
fn windows(size: usize, upto: usize, mut visit: impl FnMut(usize, usize) -> Result<(), Mismatch>) -> Result<(), Mismatch> {
    if size <= SAMPLE_ABOVE {
        for at in (0..upto).step_by(PAGE) {
            visit(at, PAGE.min(upto - at))?;
        }
        return Ok(());
    }
    let mut clipped = |at: usize| {
        if at < upto { visit(at, EDGE.min(upto - at)) } else { Ok(()) }
    };
    for at in (0..size - EDGE).step_by(PAGE) {
        clipped(at)?;
        if at + PAGE <= size {
            clipped(at + PAGE - EDGE)?;
        }
    }
    clipped(size - EDGE)
}

/// Fills a block of `size` bytes with the pattern of `seed`.
///
/// # Safety
/// `ptr` must be valid for writes of `size` bytes.
pub(crate) unsafe fn fill(ptr: *mut u8, size: usize, seed: u64) {
    let done = windows(size, size, |at, len| {
        let from = expected(seed, at, len).as_ptr();
        // SAFETY: the window lies in the block (caller) and the table is
        // static memory that no allocator can hand out.
        unsafe { ptr.add(at).copy_from_nonoverlapping(from, len) };
        Ok(())
    });
    debug_assert!(done.is_ok());
}

/// Verifies the first `upto` bytes of a block that was filled at `size` bytes.
///
/// # Safety
/// `ptr` must be valid for reads of `upto` bytes, with `upto <= size`, and hold
/// a copy of the beginning of a block filled by [`fill`] with this `size`.
pub(crate) unsafe fn verify(ptr: *const u8, size: usize, upto: usize, seed: u64) -> Result<(), Mismatch> {
    windows(size, upto, |at, len| {
        // SAFETY: the window lies in the readable part and was filled.
        let found = unsafe { slice::from_raw_parts(ptr.add(at), len) };
        compare(expected(seed, at, len), found, at)
    })
}

/// Checks that every byte is zero; blocks of all sizes are checked in full.
///
/// # Safety
/// `ptr` must be valid for reads of `size` initialised bytes.
pub(crate) unsafe fn verify_zero(ptr: *const u8, size: usize) -> Result<(), Mismatch> {
    for at in (0..size).step_by(PAGE) {
        let len = PAGE.min(size - at);
        // SAFETY: the window lies in the block.
        let found = unsafe { slice::from_raw_parts(ptr.add(at), len) };
        compare(&ZEROES[..len], found, at)?;
    }
    Ok(())
}

fn compare(expected: &[u8], found: &[u8], at: usize) -> Result<(), Mismatch> {
    if expected == found { Ok(()) } else { Err(mismatch(expected, found, at)) }
}

#[cold]
fn mismatch(expected: &[u8], found: &[u8], at: usize) -> Mismatch {
    let differs = |(e, f): (&u8, &u8)| e != f;
    // The slices differ; should another thread mend them meanwhile, say 0.
    let first = expected.iter().zip(found).position(differs).unwrap_or(0);
    let mut word = [0; 8];
    let rest = &found[first..found.len().min(first + 8)];
    word[..rest.len()].copy_from_slice(rest);
    Mismatch { offset: at + first, expected: expected[first], found: found[first], word: u64::from_le_bytes(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(size: usize, seed: u64) -> Vec<u8> {
        let mut block = vec![0; size];
        // SAFETY: the vector owns `size` bytes.
        unsafe { fill(block.as_mut_ptr(), size, seed) };
        block
    }

    fn verified(block: &[u8], size: usize, seed: u64) -> Result<(), Mismatch> {
        // SAFETY: the whole slice is initialised.
        unsafe { verify(block.as_ptr(), size, block.len(), seed) }
    }

    #[test]
    fn every_byte_of_small_blocks_counts() {
        for size in [1, 7, 64, 4095, 4096, 4097, 70_000] {
            let mut block = filled(size, 9);
            assert_eq!(verified(&block, size, 9), Ok(()));
            for at in [0, size / 2, size - 1] {
                let good = block[at];
                block[at] ^= 0x10;
                let bad = verified(&block, size, 9).unwrap_err();
                assert_eq!((bad.offset, bad.expected, bad.found), (at, good, good ^ 0x10));
                block[at] = good;
            }
        }
    }

    #[test]
    fn seeds_and_pages_differ() {
        let block = filled(8192, 1);
        assert_ne!(block[..4096], block[4096..]);
        assert_ne!(block, filled(8192, 2));
        assert!(!block.contains(&0));
    }

    #[test]
    fn large_blocks_are_sampled_at_edges() {
        for size in [SAMPLE_ABOVE + 1, SAMPLE_ABOVE + 63, SAMPLE_ABOVE + 4096] {
            let mut block = filled(size, 5);
            for at in [0, 63, 4032, 4095, 8192, size - 64, size - 1] {
                block[at] ^= 1;
                assert_eq!(verified(&block, size, 5).unwrap_err().offset, at);
                block[at] ^= 1;
            }
            for upto in [1, 100, 4050, 5000, size - 1] {
                assert_eq!(verified(&block[..upto], size, 5), Ok(()));
            }
        }
    }

    #[test]
    fn zero_check_sees_the_last_byte() {
        let mut block = vec![0; 10_000];
        // SAFETY: the vector is initialised.
        assert_eq!(unsafe { verify_zero(block.as_ptr(), 10_000) }, Ok(()));
        block[9_999] = 3;
        // SAFETY: as above.
        let bad = unsafe { verify_zero(block.as_ptr(), 10_000) }.unwrap_err();
        assert_eq!((bad.offset, bad.found, bad.word), (9_999, 3, 3));
    }
}
