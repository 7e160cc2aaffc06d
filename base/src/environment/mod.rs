//! The environment, as far as it may configure an allocator.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom))))]
#[path = "none.rs"]
mod stack;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]
mod stack;

use core::ffi::CStr;

/// The value of `name`, if there is one; none in a program that runs with more rights than whoever started it has (`AT_SECURE`).
///
/// Also before the C library knows its environment: a preloaded allocator is asked by the dynamic linker first. Until then, and after
/// `clearenv`, the environment is what the kernel put on the first stack.
#[must_use]
pub fn variable(name: &CStr) -> Option<&'static CStr> {
    if is_secure() {
        return None;
    }
    // SAFETY: reads the environment, which nobody changes while the first allocation is made; a C string is what it returns.
    unsafe {
        let text = libc::getenv(name.as_ptr());
        if text.is_null() { stack::variable(name) } else { Some(CStr::from_ptr(text)) }
    }
}

#[cfg(target_os = "linux")]
fn is_secure() -> bool {
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_secure() -> bool {
    // SAFETY: these take nothing.
    unsafe { libc::geteuid() != libc::getuid() || libc::getegid() != libc::getgid() }
}
