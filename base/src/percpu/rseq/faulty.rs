//! The system call `membarrier`, failing when told to, for tests.

use super::command;
use crate::source::{Call, Faults};

/// Failures of `membarrier`: of the whole process, since that is what the call is about. Each command is a call, so that a barrier is
/// one, or three if the first is refused.
pub static MEMBARRIER: Faults = Faults::new();

pub(super) fn membarrier(command: i32) -> bool {
    !MEMBARRIER.fails(Call::Membarrier) && command::membarrier(command)
}
