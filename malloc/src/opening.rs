//! `dlopen` without `RTLD_DEEPBIND`. A library that is opened with it looks into its own dependencies first, the C library among them, and
//! would hand to the C library's `free` what came from here: PHP opens its extensions that way.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::null_mut;

/// The C library's `dlopen`.
extern "C" fn next() -> *mut c_void {
    // SAFETY: a C string and a special handle.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"dlopen".as_ptr()) };
    if next.is_null() { nowhere as *mut c_void } else { next }
}

/// Stands in for it where there is none.
extern "C" fn nowhere(_file: *const c_char, _mode: c_int) -> *mut c_void {
    null_mut()
}

/// # Safety
/// POSIX's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void {
    // A jump, for the C library tells from the return address whose search paths count.
    naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {next}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "and esi, {others}",
        "jmp rax",
        next = sym next,
        others = const !libc::RTLD_DEEPBIND,
    )
}
