//! Calls by which a program limits itself in address space, or locks all of it: what the heap has reserved and does not use is given back
//! first. Without that, a limit of some GiB would be exceeded already, and nothing could be mapped any more, not even a thread's stack.

use crate::image;
use core::ffi::{c_int, c_long};
use core::ptr::null;
use kmem_global::Slubq;

/// True if what is set is a limit on address space.
///
/// # Safety
/// `limit` is null or points to one.
unsafe fn confines(resource: c_int, limit: *const libc::rlimit) -> bool {
    // SAFETY: the caller's.
    resource == libc::RLIMIT_AS as c_int && !limit.is_null() && unsafe { (*limit).rlim_cur } != libc::RLIM_INFINITY
}

fn yield_room() {
    if image::relocated() {
        Slubq::get().pages().yield_room();
    }
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prlimit(process: libc::pid_t, resource: c_int, new: *const libc::rlimit, old: *mut libc::rlimit) -> c_int {
    // SAFETY: the caller's; the system call is what the C library's function is.
    unsafe {
        if confines(resource, new) && (process == 0 || process == libc::getpid()) {
            yield_room();
        }
        libc::syscall(libc::SYS_prlimit64, c_long::from(process), c_long::from(resource), new, old) as c_int
    }
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setrlimit(resource: c_int, limit: *const libc::rlimit) -> c_int {
    // SAFETY: the caller's.
    unsafe { prlimit(0, resource, limit, null::<libc::rlimit>().cast_mut()) }
}

/// The same: `struct rlimit64` is `struct rlimit` here.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setrlimit64(resource: c_int, limit: *const libc::rlimit) -> c_int {
    // SAFETY: the caller's.
    unsafe { setrlimit(resource, limit) }
}

/// The same: see [`setrlimit64`].
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prlimit64(
    process: libc::pid_t,
    resource: c_int,
    new: *const libc::rlimit,
    old: *mut libc::rlimit,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { prlimit(process, resource, new, old) }
}

/// Without privileges, all address space counts, accessible or not.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlockall(flags: c_int) -> c_int {
    yield_room();
    // SAFETY: takes no pointers.
    unsafe { libc::syscall(libc::SYS_mlockall, c_long::from(flags)) as c_int }
}
