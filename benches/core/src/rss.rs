//! Peak resident memory of a child.

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
    high_water(&status).unwrap_or_else(|| max_rss(libc::RUSAGE_SELF))
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn max_rss(who: libc::c_int) -> u64 {
    // SAFETY: rusage is a plain C structure, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for the write.
    unsafe { libc::getrusage(who, &mut usage) };
    usage.ru_maxrss as u64 * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_found_in_the_status_file() {
        assert_eq!(high_water("Name:\tx\nVmHWM:\t    5120 kB\nVmRSS:\t 4 kB\n"), Some(5120 * 1024));
        assert_eq!(high_water("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak() > 0);
    }
}
