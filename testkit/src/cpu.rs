//! Which CPUs a thread may run on.

use std::{io, mem};

/// The CPUs that this thread may run on, in ascending order.
///
/// # Panics
/// If the system does not say.
pub fn allowed() -> Vec<usize> {
    // SAFETY: a set of CPUs is a bit mask, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: writes one such set.
    let done = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    // SAFETY: reads bits of the set, which has that many.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Lets this thread, and threads that it starts from now on, run on `cpus` alone.
///
/// # Errors
/// If the system refuses.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: as above.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for cpu in cpus {
        // SAFETY: sets a bit of the set, or none if there is no such bit.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    // SAFETY: reads one set.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
