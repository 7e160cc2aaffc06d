//! The system call `membarrier`.

/// True if the kernel has carried out `command`.
pub(super) fn membarrier(command: i32) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
