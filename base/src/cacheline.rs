//! The machine's cache line, for colouring.

#[cfg(target_arch = "x86_64")]
mod machine {
    /// Bytes that `clflush` writes back.
    pub(super) fn line() -> usize {
        (core::arch::x86_64::__cpuid(1).ebx as usize >> 8 & 0xFF) * 8
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    /// Not asked for elsewhere.
    pub(super) fn line() -> usize {
        0
    }
}

/// Bytes of a line where the machine does not say.
const USUAL: usize = 64;

/// Bytes of a cache line, a power of two from 16 to 1024.
#[must_use]
pub fn cache_line() -> usize {
    let line = machine::line();
    if line.is_power_of_two() && (16..=1024).contains(&line) { line } else { USUAL }
}
