//! What a program can do wrong, and the one line it is told before it is stopped.
//!
//! A fault writes its line with `write(2)` and aborts: no formatting machinery, no allocation, no unwinding through callers
//! that cannot expect it.

#[cfg(feature = "os")]
mod line;

#[cfg(feature = "os")]
pub use line::{die, die_after, warn};

/// A misuse that the allocator has proof of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The object is free already: its bit is set in the slab's bitmap.
    DoubleFree,
    /// The object belongs to another cache: the pointer, or the size or alignment of its layout, is wrong.
    WrongCache,
    /// A large block was freed with a layout that cannot be its own.
    WrongSize,
    /// No memory of this allocator.
    Foreign,
    /// Inside a slab or a block, but not where an object starts.
    Misaligned,
    /// The cache was destroyed before.
    Destroyed,
    /// A reservation was asked for more than it holds.
    Overdrawn,
    /// A signal handler has interrupted the allocator where it holds a lock, and needs that lock.
    Interrupted,
    /// There is no memory, and no way to tell the caller.
    Exhausted,
    /// A list of free memory was overwritten: the program wrote to what was not its own.
    Corrupted,
    /// The red zone in front of an object was written to.
    Underrun,
    /// The red zone behind an object was written to.
    Overrun,
    /// A free object was written to.
    UsedAfterFree,
    /// A debug build took a lock out of order: a bug of kmem itself.
    LockOrder,
}

impl Fault {
    /// Every fault, for tests and documentation.
    pub const ALL: [Self; 14] = [
        Self::DoubleFree,
        Self::WrongCache,
        Self::WrongSize,
        Self::Foreign,
        Self::Misaligned,
        Self::Destroyed,
        Self::Overdrawn,
        Self::Interrupted,
        Self::Exhausted,
        Self::Corrupted,
        Self::Underrun,
        Self::Overrun,
        Self::UsedAfterFree,
        Self::LockOrder,
    ];

    /// The middle of the line.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::DoubleFree => "double free of",
            Self::WrongCache => "freed with the wrong layout or to the wrong cache:",
            Self::WrongSize => "large block freed with the wrong size:",
            Self::Foreign => "freed, but not memory of this allocator:",
            Self::Misaligned => "freed, but not the start of an object:",
            Self::Destroyed => "use of a destroyed cache at",
            Self::Overdrawn => "reservation overdrawn at",
            Self::Interrupted => "called by a signal handler that has interrupted it, lock rank",
            Self::Exhausted => "out of memory for bytes",
            Self::Corrupted => "free memory was overwritten near",
            Self::Underrun => "red zone before an object overwritten, object at",
            Self::Overrun => "red zone behind an object overwritten, object at",
            Self::UsedAfterFree => "free object written to:",
            Self::LockOrder => "lock taken out of order, rank",
        }
    }
}
