//! Restartable sequences: the platform's primitives behind one interface.

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]
mod command;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]
mod detect;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom), any(test, feature = "testing")))]
mod faulty;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]
mod membarrier;
#[cfg(loom)]
#[path = "model.rs"]
mod primitives;
#[cfg(all(not(loom), not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))))]
#[path = "none.rs"]
mod primitives;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]
#[path = "x86_64.rs"]
mod primitives;

/// What issues the system call: in tests, something that can be told to fail.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom), not(any(test, feature = "testing"))))]
use command as caller;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom), any(test, feature = "testing")))]
use faulty as caller;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom), any(test, feature = "testing")))]
pub use faulty::Barriers;

pub(super) use primitives::{pop, push, rotate_pop, rotate_push, row, swap_if, unchain};

#[cfg(any(loom, not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))))]
pub(super) use primitives::{barrier, detect};
#[cfg(loom)]
pub use primitives::{claimed, move_after, run_on};
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]
pub(super) use {detect::detect, membarrier::barrier};

/// Where a thread's restartable-sequence area is, relative to its thread pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    /// Offset of `rseq_cs`.
    pub(super) cs: usize,
    /// Offset of the id that names the row: `mm_cid`, or `cpu_id` on kernels before 6.3.
    pub(super) id: usize,
}
