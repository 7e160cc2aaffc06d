//! Which CPU a thread is on, for the locked rows.

/// The CPU that this thread ran on a moment ago.
#[cfg(target_os = "linux")]
pub(crate) fn cpu() -> u32 {
    // SAFETY: takes nothing.
    let cpu = unsafe { libc::sched_getcpu() };
    cpu.max(0) as u32
}

/// No CPU number here: threads have distinct stacks, so their address tells them apart.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cpu() -> u32 {
    let here = 0_u8;
    (core::ptr::from_ref(&here).addr() >> 16) as u32
}
