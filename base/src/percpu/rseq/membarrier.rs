//! Interrupting every restartable sequence of this process.

use super::caller::membarrier;

/// `MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ` and its registration (Linux 5.10).
const BARRIER: i32 = 1 << 7;
const REGISTER: i32 = 1 << 8;

/// Registers this process for [`barrier`]; at boot, and again in a child that did not inherit it.
pub(super) fn register() -> bool {
    membarrier(REGISTER)
}

/// When this returns true, every restartable sequence that was running has been aborted or has committed, and what was written
/// before is seen by all that start later.
pub(in super::super) fn barrier() -> bool {
    membarrier(BARRIER) || (register() && membarrier(BARRIER))
}
