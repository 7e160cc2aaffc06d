//! Clocks for decay: a coarse one of milliseconds, a few nanoseconds to read, and one of microseconds. No system call.

#[cfg(target_os = "linux")]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
#[cfg(not(target_os = "linux"))]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}

/// Milliseconds since some fixed point; never goes back.
#[must_use]
pub fn now_ms() -> u64 {
    let time = read(CLOCK);
    (time.tv_sec as u64).wrapping_mul(1000).wrapping_add(time.tv_nsec as u64 / 1_000_000)
}

/// Microseconds since the same point: for what must end in time, not for hot paths.
#[must_use]
pub fn now_us() -> u64 {
    let time = read(libc::CLOCK_MONOTONIC);
    (time.tv_sec as u64).wrapping_mul(1_000_000).wrapping_add(time.tv_nsec as u64 / 1000)
}
