//! What programs ask of allocators.

use crate::rng::SplitMix64;
use std::fmt;

/// A mix of operations, sizes and alignments. `Debug` prints valid Rust.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Up to 1 KiB, alignments up to 256.
    Small,
    /// Mostly small, some up to 64 KiB, few up to 4 MiB; all alignments.
    Mixed,
    /// 4 KiB to 4 MiB, about 600 KiB on average; all alignments.
    Large,
    /// For caches of one layout: no reallocation, many batches.
    Fixed,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "Profile::Small",
            Self::Mixed => "Profile::Mixed",
            Self::Large => "Profile::Large",
            Self::Fixed => "Profile::Fixed",
        })
    }
}

/// A range of base-2 logarithms, with a weight.
pub(crate) type Band = (u32, u32, u32);

impl Profile {
    /// Sizes as weighted ranges of logarithms. Zero-based: `(w, 0, 10)` is 1 to
    /// 1024 bytes.
    pub(crate) fn sizes(self) -> &'static [Band] {
        match self {
            Self::Small => &[(100, 0, 10)],
            Self::Mixed => &[(860, 0, 10), (130, 10, 16), (10, 16, 22)],
            Self::Large => &[(95, 12, 22), (5, 0, 12)],
            Self::Fixed => &[(100, 6, 6)],
        }
    }

    /// Alignments as weighted ranges of logarithms.
    pub(crate) fn aligns(self) -> &'static [Band] {
        match self {
            Self::Small => &[(95, 0, 4), (5, 5, 8)],
            Self::Mixed => &[(850, 0, 4), (100, 5, 8), (45, 9, 12), (5, 16, 18)],
            Self::Large => &[(80, 0, 4), (10, 5, 11), (8, 12, 12), (2, 16, 21)],
            Self::Fixed => &[(100, 3, 3)],
        }
    }

    /// How many of 1000 operations reallocate.
    pub(crate) fn reallocs(self) -> usize {
        if self == Self::Fixed { 0 } else { 120 }
    }

    /// How many of 1000 operations are batches.
    pub(crate) fn batches(self) -> usize {
        if self == Self::Fixed { 100 } else { 20 }
    }

    /// The longest batch.
    pub(crate) fn batch_max(self) -> usize {
        if self == Self::Large { 4 } else { 32 }
    }

    /// Draws a size.
    pub fn size(self, rng: &mut SplitMix64) -> usize {
        let (low, high) = band(self.sizes(), rng);
        let log = rng.between(low as usize, high as usize) as u32;
        let top = 1usize << log;
        // The borders of size classes are where mistakes live.
        match rng.below(8) {
            0 => top,
            1 => top + 1,
            2 => top.saturating_sub(1).max(1),
            3 => top.saturating_sub(8).max(1),
            _ => rng.between((top / 2).max(1), top),
        }
        .min(1 << high)
    }

    /// Draws an alignment.
    pub fn align(self, rng: &mut SplitMix64) -> usize {
        let (low, high) = band(self.aligns(), rng);
        1 << rng.between(low as usize, high as usize)
    }
}

fn band(bands: &[Band], rng: &mut SplitMix64) -> (u32, u32) {
    let total: u32 = bands.iter().map(|band| band.0).sum();
    let mut at = rng.below(total as usize) as u32;
    for &(weight, low, high) in bands {
        if at < weight {
            return (low, high);
        }
        at -= weight;
    }
    unreachable!("the draw is below the sum of the weights")
}
