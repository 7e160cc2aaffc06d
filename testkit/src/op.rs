//! The operation language.

use std::alloc::Layout;
use std::fmt;

/// Sizes in operations are clamped to this.
pub const MAX_SIZE: usize = 64 << 20;

/// Alignments in operations are clamped to this.
pub const MAX_ALIGN: usize = 4 << 20;

/// Alignment of the blocks of a batch.
const BATCH_ALIGN: usize = 8;

/// One step of a test.
///
/// Slots index a table of blocks, modulo its length. Every sequence of
/// operations is valid: freeing an empty slot does nothing, allocating in an
/// occupied one frees its block first, and sizes and alignments are made valid
/// by [`Op::layout`]. `Debug` prints valid Rust, so that a failing sequence can
/// be pasted in a test.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Allocate a block.
    Alloc {
        /// Where to keep it.
        slot: u16,
        /// Its size.
        size: usize,
        /// Its alignment.
        align: usize,
        /// Whether it must come zeroed.
        zeroed: bool,
    },
    /// Free a block.
    Free {
        /// Where it is kept.
        slot: u16,
    },
    /// Change the size of a block; an empty slot stays empty.
    Realloc {
        /// Where it is kept.
        slot: u16,
        /// The new size.
        size: usize,
    },
    /// Allocate several blocks of one size in one call.
    AllocBatch {
        /// The first of consecutive slots.
        slot: u16,
        /// How many.
        count: u16,
        /// The size of each.
        size: usize,
    },
    /// Free the blocks of consecutive slots, one call for each run of blocks
    /// of equal layout.
    FreeBatch {
        /// The first slot.
        slot: u16,
        /// How many slots.
        count: u16,
    },
    /// Ask the subject to return unused memory.
    Trim,
    /// Verify the contents of all live blocks, and the subject itself unless
    /// other threads use it.
    Check,
    /// Ask the subject to force its slow path, such as taking in remote frees.
    Drain,
    /// Hand a block over to another thread; nothing in a single thread.
    Pass {
        /// Where it is kept.
        slot: u16,
    },
}

impl Op {
    /// The valid layout nearest to a size and an alignment.
    pub fn layout(size: usize, align: usize) -> Layout {
        let align = align.clamp(1, MAX_ALIGN).next_power_of_two();
        Layout::from_size_align(Self::size(size), align).expect("clamped to a valid layout")
    }

    /// The valid size nearest to a size.
    pub fn size(size: usize) -> usize {
        size.clamp(1, MAX_SIZE)
    }

    /// The layout of the blocks of a batch.
    pub fn batch_layout(size: usize) -> Layout {
        Self::layout(size, BATCH_ALIGN)
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand, so that the alternate form stays on one line too.
        match self {
            Self::Alloc { slot, size, align, zeroed } => {
                write!(f, "Op::Alloc {{ slot: {slot}, size: {size}, align: {align}, zeroed: {zeroed} }}")
            }
            Self::Free { slot } => write!(f, "Op::Free {{ slot: {slot} }}"),
            Self::Realloc { slot, size } => {
                write!(f, "Op::Realloc {{ slot: {slot}, size: {size} }}")
            }
            Self::AllocBatch { slot, count, size } => {
                write!(f, "Op::AllocBatch {{ slot: {slot}, count: {count}, size: {size} }}")
            }
            Self::FreeBatch { slot, count } => {
                write!(f, "Op::FreeBatch {{ slot: {slot}, count: {count} }}")
            }
            Self::Trim => f.write_str("Op::Trim"),
            Self::Check => f.write_str("Op::Check"),
            Self::Drain => f.write_str("Op::Drain"),
            Self::Pass { slot } => write!(f, "Op::Pass {{ slot: {slot} }}"),
        }
    }
}

/// Operations as a Rust expression, one to a line.
pub fn op_list(ops: &[Op]) -> String {
    format!("{ops:#?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_rust() {
        let alloc = Op::Alloc { slot: 3, size: 24, align: 8, zeroed: false };
        let text = "[\n    Op::Alloc { slot: 3, size: 24, align: 8, zeroed: false },\n    Op::Trim,\n]";
        assert_eq!(op_list(&[alloc, Op::Trim]), text);
    }

    #[test]
    fn any_layout_is_made_valid() {
        for n in [0, 1, 3, 4097, usize::MAX / 2 + 2, usize::MAX] {
            let layout = Op::layout(n, n);
            assert!(layout.size() >= 1 && layout.size() <= MAX_SIZE);
            assert!(layout.align() <= MAX_ALIGN);
        }
    }
}
