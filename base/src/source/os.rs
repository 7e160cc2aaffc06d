//! The operating system's own calls.

use super::{PageSource, Range};
use crate::config::HUGE_PAGE;
use core::ptr::{NonNull, null_mut};

/// Anonymous private memory from `mmap`.
///
/// Reservations are `PROT_NONE` and not accounted: they cost nothing under `overcommit_memory=2`, `mlockall` does not fill them,
/// and a core dump skips them. (memmap2 can only map memory that is readable at once, so this speaks to libc.)
#[derive(Debug, Clone, Copy, Default)]
pub struct OsSource;

const NORESERVE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// Maps `len` bytes at `wish` if they are free, else anywhere.
fn mmap(wish: *mut u8, len: usize, prot: i32, flags: i32) -> Option<NonNull<u8>> {
    // SAFETY: a new anonymous mapping touches no existing memory: without `MAP_FIXED` the address is only a wish.
    let at = unsafe { libc::mmap(wish.cast(), len, prot, flags, -1, 0) };
    if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
}

/// Maps `len` bytes aligned to `align`: where the kernel likes, or just below that, since it goes downwards, or by mapping more and
/// cutting both ends off.
fn mmap_aligned(len: usize, align: usize, prot: i32, flags: i32) -> Option<NonNull<u8>> {
    let mut wish = null_mut::<u8>();
    for _ in 0..2 {
        let at = mmap(wish, len, prot, flags)?;
        let past = at.as_ptr().addr() % align;
        if past == 0 {
            return Some(at);
        }
        // SAFETY: just mapped, used by nobody.
        unsafe { libc::munmap(at.as_ptr().cast(), len) };
        wish = at.as_ptr().wrapping_sub(past);
    }
    let at = mmap(null_mut(), len.checked_add(align)?, prot, flags)?;
    let head = at.as_ptr().addr().next_multiple_of(align) - at.as_ptr().addr();
    // SAFETY: head + len + tail is the mapping just made; the ends are used by nobody. Failing to cut them only wastes address
    // space.
    unsafe {
        if head > 0 {
            libc::munmap(at.as_ptr().cast(), head);
        }
        if align > head {
            libc::munmap(at.as_ptr().add(head + len).cast(), align - head);
        }
        Some(at.add(head))
    }
}

/// # Safety
/// `at .. at + old` is a whole mapping; with `MREMAP_FIXED`, `to .. to + new` is the caller's to replace.
#[cfg(target_os = "linux")]
unsafe fn mremap(at: NonNull<u8>, old: usize, new: usize, flags: i32, to: *mut u8) -> Option<NonNull<u8>> {
    // SAFETY: the caller's; without `MREMAP_FIXED` the last argument is not looked at.
    let moved = unsafe { libc::mremap(at.as_ptr().cast(), old, new, flags, to) };
    if moved == libc::MAP_FAILED { None } else { NonNull::new(moved.cast()) }
}

/// True if `len` bytes could be mapped now: neither a limit nor the machine's memory stands against it.
#[cfg(target_os = "linux")]
fn can_grow(len: usize) -> bool {
    let probe = mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: just mapped, used by nobody.
    probe.is_some_and(|probe| unsafe { libc::munmap(probe.as_ptr().cast(), len) } == 0)
}

/// Moves a mapping to where huge pages can lie: huge pages move whole only from such a place to another.
///
/// # Safety
/// `at .. at + old` is a whole mapping.
#[cfg(target_os = "linux")]
unsafe fn mremap_aligned(at: NonNull<u8>, old: usize, new: usize) -> Option<NonNull<u8>> {
    if new < HUGE_PAGE {
        return None;
    }
    let to = mmap_aligned(new, HUGE_PAGE, libc::PROT_NONE, NORESERVE)?;
    if !can_grow(new.saturating_sub(old)) {
        // SAFETY: just mapped, used by nobody.
        unsafe { libc::munmap(to.as_ptr().cast(), new) };
        return None;
    }
    // If this fails all the same, the reservation may or may not be gone; it is left alone, as its place may be somebody else's by now.
    // SAFETY: the caller's, and the reservation is ours to replace.
    unsafe { mremap(at, old, new, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, to.as_ptr()) }
}

/// `MADV_DONTNEED` for all of `ranges` in one call, which Linux has from 6.15 on. False if it did not do all of it.
///
/// # Safety
/// The contents are dead.
#[cfg(target_os = "linux")]
unsafe fn purge_at_once(ranges: &[Range]) -> bool {
    /// This process, instead of a descriptor of it.
    const PIDFD_SELF_PROCESS: libc::c_long = -10001;
    let bytes: usize = ranges.iter().map(|range| range.len).sum();
    // SAFETY: as many `iovec`s as it says; the caller's for what they cover. Systems without the call, or the constant, do nothing.
    let done = unsafe {
        let (at, count) = (ranges.as_ptr(), ranges.len());
        libc::syscall(libc::SYS_process_madvise, PIDFD_SELF_PROCESS, at, count, libc::MADV_DONTNEED as libc::c_long, 0)
    };
    done >= 0 && done as usize == bytes
}

// SAFETY: the kernel hands out zeroed private mappings that overlap nothing.
unsafe impl PageSource for OsSource {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        mmap_aligned(len, align, libc::PROT_NONE, NORESERVE)
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's range is reserved and holds no memory yet, so that new access rights expose nothing.
        unsafe { libc::mprotect(at.as_ptr().cast(), len, libc::PROT_READ | libc::PROT_WRITE) == 0 }
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        mmap_aligned(len, align, libc::PROT_READ | libc::PROT_WRITE, flags)
    }

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the contents are dead.
        let advised = unsafe { libc::madvise(at.as_ptr().cast(), len, libc::MADV_DONTNEED) == 0 };
        // On Linux's private anonymous memory that means zero from now on (on locked memory it fails); elsewhere it is a hint.
        cfg!(target_os = "linux") && advised
    }

    #[cfg(target_os = "linux")]
    unsafe fn purge_all(&self, ranges: &[Range]) -> bool {
        // SAFETY: the caller's.
        unsafe { purge_at_once(ranges) || ranges.iter().filter(|range| !self.purge(range.at, range.len)).count() == 0 }
    }

    #[cfg(target_os = "linux")]
    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: mapped by the caller's promise, and the advice changes no contents.
        unsafe { libc::madvise(at.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
    }

    #[cfg(not(target_os = "linux"))]
    unsafe fn advise_huge(&self, _at: NonNull<u8>, _len: usize) {}

    #[cfg(target_os = "linux")]
    unsafe fn advise_small(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: as above.
        unsafe { libc::madvise(at.as_ptr().cast(), len, libc::MADV_NOHUGEPAGE) };
    }

    #[cfg(target_os = "linux")]
    unsafe fn remap(&self, at: NonNull<u8>, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
        // SAFETY: the caller's range is one whole mapping of ours.
        unsafe {
            match mremap(at, old, new, 0, null_mut()) {
                None if may_move => mremap_aligned(at, old, new).or_else(|| mremap(at, old, new, libc::MREMAP_MAYMOVE, null_mut())),
                resized => resized,
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    unsafe fn remap(&self, _at: NonNull<u8>, _old: usize, _new: usize, _may_move: bool) -> Option<NonNull<u8>> {
        None
    }

    unsafe fn unmap(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: whole and dead by this function's contract. It can fail when it would split one mapping too many; the address
        // space is then lost, nothing else.
        unsafe { libc::munmap(at.as_ptr().cast(), len) };
    }
}

/// Bytes of an OS page, read from the kernel at run time: aarch64 machines differ in it.
#[must_use]
pub fn os_page() -> usize {
    // SAFETY: only reads the auxiliary vector.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}
