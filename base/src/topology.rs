//! Topology as data: how many memory nodes there are, and which one a thread is on.

use crate::config::MAX_CPUS;
use crate::sync::{AtomicU32, Ordering, const_fn};
use core::ffi::CStr;

/// As many nodes as Linux can be built for.
#[cfg(target_os = "linux")]
const MAX_NODES: usize = 1024;

/// What the allocator knows of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// Memory nodes.
    pub nodes: u32,
    /// CPUs that this thread may run on: one more than the highest.
    pub cpus: u32,
    /// No fewer than the machine could ever have; [`possible_cpus`] says how many those are.
    pub most: u32,
    /// True if `nodes` is not what the machine has: nodes are then dealt out by row.
    pub fake: bool,
}

impl Topology {
    /// This machine.
    #[must_use]
    pub fn detect() -> Self {
        let (cpus, most) = allowed_cpus().unwrap_or_else(|| [possible_cpus(); 2].into());
        Self { nodes: nodes(), cpus, most, fake: false }
    }

    /// The node of a thread whose row is `row`. On a real machine with several it asks the kernel: some hundred cycles.
    #[must_use]
    pub fn node(&self, row: u32) -> u32 {
        match (self.nodes, self.fake) {
            (1, _) => 0,
            (nodes, true) => row % nodes,
            (nodes, false) => current_node() % nodes,
        }
    }
}

/// How many memory nodes an allocator found when it came up, for all its threads. All zero at first.
#[derive(Debug)]
pub struct Nodes(AtomicU32);

/// Set if the number of nodes is not the machine's.
const FAKE: u32 = 1 << 31;

impl Nodes {
    const_fn! {
        /// Not known yet.
        #[must_use]
        #[allow(clippy::new_without_default)]
        pub const fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// Notes those of `topology`.
    pub fn set(&self, topology: &Topology) {
        self.0.store(topology.nodes | if topology.fake { FAKE } else { 0 }, Ordering::Relaxed);
    }

    /// With them, the topology of a machine of `cpus`: at least one node, even before [`Self::set`].
    #[inline]
    #[must_use]
    pub fn topology(&self, cpus: u32) -> Topology {
        let nodes = self.0.load(Ordering::Relaxed);
        Topology { nodes: (nodes & !FAKE).max(1), cpus, most: cpus, fake: nodes & FAKE != 0 }
    }
}

#[cfg(target_os = "linux")]
fn current_node() -> u32 {
    let (mut cpu, mut node) = (0_u32, 0_u32);
    // SAFETY: writes two integers.
    unsafe { libc::syscall(libc::SYS_getcpu, &raw mut cpu, &raw mut node, core::ptr::null_mut::<u8>()) };
    node
}

#[cfg(not(target_os = "linux"))]
fn current_node() -> u32 {
    0
}

/// Memory nodes of the machine: those that this process may use, or where the kernel does not say, those that there could be.
fn nodes() -> u32 {
    allowed_nodes().or_else(|| count(c"/sys/devices/system/node/possible")).unwrap_or(1)
}

/// One more than the highest node that this process may use. One system call, where a file takes three and a walk through sysfs.
#[cfg(target_os = "linux")]
fn allowed_nodes() -> Option<u32> {
    /// `MPOL_F_MEMS_ALLOWED`.
    const ALLOWED: usize = 1 << 2;
    let mut mask = [0_u64; MAX_NODES / 64];
    let (mode, none) = (core::ptr::null_mut::<i32>(), core::ptr::null_mut::<u8>());
    // SAFETY: writes at most `MAX_NODES` bits.
    let failed = unsafe { libc::syscall(libc::SYS_get_mempolicy, mode, mask.as_mut_ptr(), MAX_NODES, none, ALLOWED) } != 0;
    let last = mask.iter().rposition(|word| *word != 0).filter(|_| !failed)?;
    Some(last as u32 * 64 + mask[last].ilog2() + 1)
}

#[cfg(not(target_os = "linux"))]
fn allowed_nodes() -> Option<u32> {
    None
}

/// One more than the highest CPU that this thread may run on, and as many as the kernel has bits for. One system call, where the file
/// below takes three, and thirty times as long.
#[cfg(target_os = "linux")]
fn allowed_cpus() -> Option<(u32, u32)> {
    let mut mask = [0_u64; MAX_CPUS as usize / 64];
    // SAFETY: writes at most that many bytes. By number, as the function of that name does not say how many.
    let bytes = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&mask), mask.as_mut_ptr()) };
    let words = usize::try_from(bytes).ok()?.div_ceil(8);
    let last = mask.iter().rposition(|word| *word != 0)?;
    Some((last as u32 * 64 + mask[last].ilog2() + 1, words as u32 * 64))
}

#[cfg(not(target_os = "linux"))]
fn allowed_cpus() -> Option<(u32, u32)> {
    None
}

/// CPUs that this machine could ever have. Not from `sysconf`, which may allocate on older systems.
#[must_use]
pub fn possible_cpus() -> u32 {
    count(c"/sys/devices/system/cpu/possible").unwrap_or_else(|| {
        // SAFETY: takes a number.
        let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
        u32::try_from(cpus).unwrap_or(1).max(1)
    })
}

/// One more than the highest number in a file that reads like `0-3` or `0`.
fn count(path: &CStr) -> Option<u32> {
    let mut text = [0_u8; 256];
    let len = read(path, &mut text)?;
    let text = text.get(..len)?;
    (!text.is_empty()).then(|| highest(text) + 1)
}

/// Reads the beginning of a file. By system calls: the C library's functions are points at which a thread can be cancelled, and which a
/// preloaded library may have replaced by something that allocates.
#[cfg(target_os = "linux")]
fn read(path: &CStr, text: &mut [u8]) -> Option<usize> {
    // SAFETY: a C string, and a buffer of the length given.
    let len = unsafe {
        let file = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return None;
        }
        let len = libc::syscall(libc::SYS_read, file, text.as_mut_ptr(), text.len());
        libc::syscall(libc::SYS_close, file);
        len
    };
    usize::try_from(len).ok()
}

#[cfg(not(target_os = "linux"))]
fn read(_path: &CStr, _text: &mut [u8]) -> Option<usize> {
    None
}

fn highest(text: &[u8]) -> u32 {
    let number = |digits: &[u8]| {
        digits
            .iter()
            .filter(|byte| byte.is_ascii_digit())
            .fold(0_u32, |value, digit| value.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
    };
    text.split(|byte| matches!(byte, b'-' | b',')).map(number).max().unwrap_or(0).min(MAX_CPUS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_lists() {
        assert_eq!(highest(b"0\n"), 0);
        assert_eq!(highest(b"0-3\n"), 3);
        assert_eq!(highest(b"0,2-5,12\n"), 12);
        assert_eq!(highest(b""), 0);
    }

    #[test]
    fn numbers_are_kept_within_the_table() {
        assert_eq!(highest(b"0-4095"), MAX_CPUS - 1);
        assert_eq!(highest(b"0-9999999999999"), MAX_CPUS - 1);
    }

    /// Where the system keeps such files, they are what is read.
    #[test]
    fn this_machine_is_what_the_system_says() {
        extern crate std;
        let highest_of = |text: &str| text.trim().rsplit(['-', ',']).next()?.parse::<u32>().ok();
        let last = |path: &str| highest_of(&std::fs::read_to_string(path).ok()?);
        let topology = Topology::detect();
        assert!(!topology.fake);
        if let Some(cpu) = last("/sys/devices/system/cpu/possible") {
            assert_eq!(possible_cpus(), cpu + 1);
        }
        assert!(topology.cpus <= possible_cpus() && possible_cpus() <= topology.most);
        if let Some(node) = last("/sys/devices/system/node/possible") {
            assert!((1..=node + 1).contains(&topology.nodes));
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Mems_allowed_list:"));
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        if let Some(cpu) = cpus.and_then(highest_of) {
            assert_eq!(topology.cpus, cpu + 1);
        }
        if let (Some(node), Some(_)) = (allowed.and_then(highest_of), allowed_nodes()) {
            assert_eq!(topology.nodes, node + 1);
        }
        assert_eq!(count(c"/nonexistent/file"), None);
        assert!(topology.node(0) < topology.nodes && topology.node(77) < topology.nodes);
        // Asked of the system, not dealt out by row; on a machine with one node that is node 0.
        let several = Topology { nodes: topology.nodes.max(2), ..topology };
        assert!(several.node(1) < topology.nodes);
    }

    #[test]
    fn fake_nodes_are_dealt_out_by_row() {
        let topology = Topology { nodes: 4, cpus: 16, most: 16, fake: true };
        assert_eq!((0..6).map(|row| topology.node(row)).sum::<u32>(), 1 + 2 + 3 + 1);
    }
}
