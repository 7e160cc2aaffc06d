//! What an allocator can do wrong.

use std::alloc::Layout;
use std::error::Error;
use std::fmt;

/// Where a block lies, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Address of the first byte.
    pub addr: usize,
    /// Size in bytes.
    pub size: usize,
    /// Alignment asked for.
    pub align: usize,
}

impl Extent {
    /// The extent of a block.
    pub fn new(ptr: *const u8, layout: Layout) -> Self {
        Self { addr: ptr.addr(), size: layout.size(), align: layout.align() }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.addr.wrapping_add(self.size);
        write!(f, "{:#x}..{end:#x} (size {}, align {})", self.addr, self.size, self.align)
    }
}

/// The first byte that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Offset from the start of the block.
    pub offset: usize,
    /// The byte that belongs there.
    pub expected: u8,
    /// The byte that is there.
    pub found: u8,
    /// Up to 8 bytes found from there on, little endian: often a telling
    /// pointer or counter.
    pub word: u64,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, expected, found, word } = self;
        write!(
            f,
            "first bad byte at offset {offset}: expected {expected:#04x}, found {found:#04x} \
             (word from there {word:#018x})"
        )
    }
}

/// A broken promise of an allocator, with the exact facts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// The answer was null though the subject may not fail.
    Null {
        /// The request.
        layout: Layout,
    },
    /// A block of no bytes was recorded, which no driver asks for.
    ZeroSized {
        /// The block.
        block: Extent,
    },
    /// The address is not a multiple of the alignment.
    Misaligned {
        /// The block.
        block: Extent,
    },
    /// The block wraps around the end of the address space.
    Wraps {
        /// The block.
        block: Extent,
    },
    /// A new block covers bytes of a live one.
    Overlap {
        /// The block just returned.
        new: Extent,
        /// The live block.
        live: Extent,
    },
    /// A block asked as zeroed is not.
    NotZeroed {
        /// The block.
        block: Extent,
        /// The first byte that is not zero.
        mismatch: Mismatch,
    },
    /// A live block does not hold what was written to it.
    Corrupt {
        /// The block.
        block: Extent,
        /// The first bad byte.
        mismatch: Mismatch,
    },
    /// A reallocation did not preserve the contents.
    LostPrefix {
        /// The block before.
        old: Extent,
        /// The block after.
        new: Extent,
        /// The first bad byte.
        mismatch: Mismatch,
    },
    /// A block is freed or reallocated that is not live.
    NotLive {
        /// The block.
        block: Extent,
    },
    /// A live block is freed or reallocated with another layout.
    WrongLayout {
        /// The block as it was allocated.
        live: Extent,
        /// The block as it was given back.
        given: Extent,
    },
    /// Blocks are live at the end, when all were freed.
    Leaked {
        /// How many.
        blocks: usize,
    },
    /// The subject's own check failed.
    Check(String),
    /// A thread of a stress run panicked.
    Panicked(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null { layout } => {
                write!(f, "null returned for size {}, align {}", layout.size(), layout.align())
            }
            Self::ZeroSized { block } => write!(f, "block {block} has no bytes"),
            Self::Misaligned { block } => write!(f, "block {block} is misaligned"),
            Self::Wraps { block } => write!(f, "block {block} wraps around the address space"),
            Self::Overlap { new, live } => write!(f, "new block {new} overlaps live block {live}"),
            Self::NotZeroed { block, mismatch } => {
                write!(f, "zeroed block {block} is not zero: {mismatch}")
            }
            Self::Corrupt { block, mismatch } => {
                write!(f, "live block {block} is corrupt: {mismatch}")
            }
            Self::LostPrefix { old, new, mismatch } => {
                write!(f, "contents lost when {old} was reallocated to {new}: {mismatch}")
            }
            Self::NotLive { block } => write!(f, "block {block} is not live"),
            Self::WrongLayout { live, given } => {
                write!(f, "live block {live} was given back as {given}")
            }
            Self::Leaked { blocks } => write!(f, "{blocks} blocks are live after all was freed"),
            Self::Check(what) => write!(f, "the subject's check failed: {what}"),
            Self::Panicked(what) => write!(f, "a thread panicked: {what}"),
        }
    }
}

impl Error for Violation {}
