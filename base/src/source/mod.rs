//! Where address space comes from: the one contract between kmem and the operating system's memory calls.

#[cfg(any(test, feature = "testing"))]
mod faults;
#[cfg(any(test, feature = "testing"))]
mod gated;
#[cfg(feature = "os")]
mod os;
#[cfg(loom)]
mod scratch;

#[cfg(any(test, feature = "testing"))]
pub use faults::{Call, Faults, Plan};
#[cfg(any(test, feature = "testing"))]
pub use gated::{FaultySource, Gate, GatedSource, Permit};
#[cfg(feature = "os")]
pub use os::{OsSource, os_page};
#[cfg(loom)]
pub use scratch::Scratch;

use core::ptr::NonNull;

/// Some bytes; laid out as the system's `iovec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Range {
    /// The first one.
    pub at: NonNull<u8>,
    /// How many.
    pub len: usize,
}

// SAFETY: an address and a length; what may be done with the memory is for others to say.
unsafe impl Send for Range {}
// SAFETY: as above.
unsafe impl Sync for Range {}

/// Supplies address space and memory. Every call may fail, and a failed call has changed nothing.
///
/// # Safety
/// Memory handed out is nobody else's until it is given back, and is as readable, writable and zero as each call promises.
pub unsafe trait PageSource: Sync + core::fmt::Debug {
    /// Reserves `len` bytes of address space aligned to `align` (both multiples of the OS page), with no access and no memory
    /// behind it.
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>>;

    /// Makes reserved bytes readable and writable; they read as zero. True if done.
    ///
    /// # Safety
    /// `at .. at + len` lies in one reservation of this source.
    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool;

    /// Maps `len` zero bytes aligned to `align`, readable and writable.
    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>>;

    /// Gives memory back while keeping the address space. True if the bytes read as zero from now on.
    ///
    /// # Safety
    /// The bytes are committed or mapped, and their contents are dead.
    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool;

    /// [`Self::purge`] of several ranges, if possible in one call to the system: every call that gives memory back interrupts every CPU
    /// that the process runs on. True if all of the bytes read as zero from now on.
    ///
    /// # Safety
    /// As [`Self::purge`], for each of the ranges.
    unsafe fn purge_all(&self, ranges: &[Range]) -> bool {
        // SAFETY: the caller's. Each is tried, even after one has failed.
        ranges.iter().filter(|range| unsafe { !self.purge(range.at, range.len) }).count() == 0
    }

    /// Asks for huge pages behind committed or mapped bytes. Only a hint: nothing depends on it.
    ///
    /// # Safety
    /// `at .. at + len` is committed or mapped.
    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize);

    /// Asks for small pages only, where memory will be given back page by page. Only a hint, too.
    ///
    /// # Safety
    /// `at .. at + len` is committed or mapped.
    unsafe fn advise_small(&self, _at: NonNull<u8>, _len: usize) {}

    /// Changes the length of a mapping from [`Self::map`], moving it only if `may_move`; the contents move along, added bytes
    /// are zero.
    ///
    /// # Safety
    /// `at .. at + old` is a whole mapping.
    unsafe fn remap(&self, at: NonNull<u8>, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>>;

    /// Gives a mapping or reservation back.
    ///
    /// # Safety
    /// It is whole, from [`Self::map`], [`Self::remap`] or [`Self::reserve`], or an end of a reservation; and dead.
    unsafe fn unmap(&self, at: NonNull<u8>, len: usize);
}

// SAFETY: forwards every call.
unsafe impl<T: PageSource + ?Sized> PageSource for &T {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        (**self).reserve(len, align)
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's promise, here and below.
        unsafe { (**self).commit(at, len) }
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        (**self).map(len, align)
    }

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: as above.
        unsafe { (**self).purge(at, len) }
    }

    unsafe fn purge_all(&self, ranges: &[Range]) -> bool {
        // SAFETY: as above.
        unsafe { (**self).purge_all(ranges) }
    }

    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { (**self).advise_huge(at, len) }
    }

    unsafe fn advise_small(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { (**self).advise_small(at, len) }
    }

    unsafe fn remap(&self, at: NonNull<u8>, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
        // SAFETY: as above.
        unsafe { (**self).remap(at, old, new, may_move) }
    }

    unsafe fn unmap(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { (**self).unmap(at, len) }
    }
}
