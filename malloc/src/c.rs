//! The family of the C standard and of POSIX, with glibc's semantics where those leave a choice.

use crate::heap::{self, ALIGN};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    heap::alloc(size).cast()
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller's.
    unsafe { heap::free(block.cast()) }
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        Some(bytes) => heap::alloc_zeroed(bytes).cast(),
        None => heap::refuse().cast(),
    }
}

/// A size of 0 frees the block and returns null, as in glibc.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's.
    unsafe {
        if block.is_null() {
            return malloc(size);
        }
        if size == 0 {
            free(block);
            return null_mut();
        }
        heap::resize(block.cast(), size).cast()
    }
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's.
        Some(bytes) => unsafe { realloc(block, bytes) },
        None => heap::refuse().cast(),
    }
}

/// C23's.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(block: *mut c_void, _size: usize) {
    // The page knows better than a program that was never told off: a wrong size is not worth a crash.
    // SAFETY: the caller's.
    unsafe { free(block) }
}

/// C23's.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(block: *mut c_void, _align: usize, _size: usize) {
    // SAFETY: the caller's.
    unsafe { free(block) }
}

/// An alignment that is no power of two is rounded up to one, as in glibc.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    match align.max(ALIGN).checked_next_power_of_two() {
        Some(align) => aligned(align, size),
        None => invalid(),
    }
}

/// The alignment must be a power of two, as C17 and newer glibc have it; the size need be no multiple of it.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if align.is_power_of_two() { aligned(align, size) } else { invalid() }
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    let before = heap::errno();
    let block = aligned(align, size);
    if block.is_null() {
        heap::set_errno(before);
        return libc::ENOMEM;
    }
    // SAFETY: the caller's: where the block is to be noted.
    unsafe { place.write(block) };
    0
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn valloc(size: usize) -> *mut c_void {
    aligned(os_page(), size)
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match size.max(1).checked_next_multiple_of(os_page()) {
        Some(size) => aligned(os_page(), size),
        None => heap::refuse().cast(),
    }
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    if block.is_null() { 0 } else { heap::usable(block.cast()) }
}

fn aligned(align: usize, size: usize) -> *mut c_void {
    if align <= ALIGN { heap::alloc(size).cast() } else { heap::alloc_aligned(align, size).cast() }
}

#[cold]
fn invalid() -> *mut c_void {
    heap::set_errno(libc::EINVAL);
    null_mut()
}

fn os_page() -> usize {
    kmem_base::source::os_page()
}
