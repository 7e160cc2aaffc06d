//! The bits of 64 pages of an arena, side by side: whoever changes one kind looks at the others, and a small heap's bits are on one OS
//! page.

use crate::bitmap::Bitmap2;
use crate::sync::AtomicU64;

/// See the module. All zero says: in use, or never used.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Marks {
    /// Free pages.
    pub(super) free: AtomicU64,
    /// In entry `i`: which of the `free` words `64 * i ..` are not zero.
    pub(super) summary: AtomicU64,
    /// Dirty since the last decay tick.
    pub(super) young: AtomicU64,
    /// Dirty before.
    pub(super) old: AtomicU64,
}

/// The bitmap of free pages.
pub(super) type Free = Bitmap2<{ size_of::<Marks>() / size_of::<AtomicU64>() }>;

impl Marks {
    /// Nothing free, nothing dirty.
    pub(super) fn new() -> Self {
        let word = || AtomicU64::new(0);
        Self { free: word(), summary: word(), young: word(), old: word() }
    }

    /// The free bits of a table.
    ///
    /// # Safety
    /// The table covers every place that is ever used, is zero, lives as long as the process, and its free bits are written through
    /// this alone.
    pub(super) const unsafe fn free(table: *const Self) -> Free {
        // SAFETY: the caller's.
        unsafe { Free::new(&raw const (*table).free, &raw const (*table).summary) }
    }
}
