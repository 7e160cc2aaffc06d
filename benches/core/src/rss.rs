//! Resident memory and page faults of a child.

use std::fs;

/// This process's own peak, plus the largest of the worker processes that it waited for.
///
/// For rows with processes that is the starter and one typical worker; a sum over all workers would count the pages
/// that they share once for each.
pub(crate) fn peak() -> u64 {
    own_peak() + max_rss(libc::RUSAGE_CHILDREN)
}

/// `ru_maxrss` survives exec and so would never go below the harness's own size: prefer the mark of this image.
fn own_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kib_field(&status, "VmHWM:").unwrap_or_else(|| max_rss(libc::RUSAGE_SELF))
}

fn kib_field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Resident bytes of this process now.
///
/// From the page tables: the kernel's running counter in the status file is off by some hundred KiB per processor.
pub(crate) fn resident() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let exact = kib_field(&rollup, "Rss:");
    exact.or_else(|| kib_field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")).unwrap_or(0)
}

/// Of them those that no file backs: what was allocated, without the code that did it.
pub(crate) fn anonymous() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    kib_field(&rollup, "Anonymous:").unwrap_or_else(resident)
}

/// Page faults so far of this process and of the children that it waited for.
pub(crate) fn page_faults() -> u64 {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].map(|who| usage(who).ru_minflt as u64).iter().sum()
}

fn max_rss(who: libc::c_int) -> u64 {
    usage(who).ru_maxrss as u64 * 1024
}

fn usage(who: libc::c_int) -> libc::rusage {
    // SAFETY: rusage is a plain C structure, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for the write.
    unsafe { libc::getrusage(who, &mut usage) };
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_not_anonymous() {
        let block = std::hint::black_box(vec![1_u8; 1 << 20]);
        assert!(anonymous() >= 1 << 20 && anonymous() < resident(), "{} bytes", block.len());
    }

    #[test]
    fn a_figure_is_found_in_the_status_file() {
        assert_eq!(kib_field("Name:\tx\nVmHWM:\t    5120 kB\nVmRSS:\t 4 kB\n", "VmHWM:"), Some(5120 * 1024));
        assert_eq!(kib_field("Name:\tx\n", "VmHWM:"), None);
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak() > 0);
    }

    #[test]
    fn pages_that_are_written_are_resident_and_were_faults() {
        let grows = || {
            let before = (resident(), page_faults());
            let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
            let after = (resident(), page_faults());
            drop(memory);
            after.0 >= before.0 + (32 << 20) && after.1 > before.1
        };
        // Other tests run beside this one, and give back as much now and then.
        assert!((0..20).any(|_| grows()));
    }
}
