//! Where a heap's memory comes from.

use core::ops::Range;
use core::ptr::NonNull;

/// Memory for one heap.
///
/// # Safety
/// What [`Self::grow`] hands out is readable, writable, nobody else's, and stays so.
pub unsafe trait Ground {
    /// True if free pages can be given back one by one: then what is handed out is aligned to a page, in one piece with what was handed
    /// out before, and reads as zero.
    const RETURNS: bool = false;

    /// False if all there is comes at once: the second call of [`Self::grow`] gives nothing.
    const GROWS: bool = true;

    /// At least `bytes` more, at higher addresses than all before; best behind them without a gap. Returns what there is and its length.
    fn grow(&mut self, bytes: usize) -> Option<(NonNull<u8>, usize)>;

    /// Gives the memory of pages back, which read as zero afterwards. Only if [`Self::RETURNS`].
    ///
    /// # Safety
    /// They were handed out and nobody uses them.
    unsafe fn purge(&mut self, _at: NonNull<u8>, _bytes: usize) {}

    /// Takes everything back: the next [`Self::grow`] starts anew. Only if [`Self::RETURNS`].
    ///
    /// # Safety
    /// Nobody uses any of it.
    unsafe fn reset(&mut self) {}

    /// The heap's note of pages that are free and not given back yet. Only if [`Self::RETURNS`].
    fn pending(&mut self) -> Option<&mut Range<usize>> {
        None
    }
}
