//! The system call `membarrier`, failing when told to, for tests.

extern crate std;

use super::command;
use crate::source::{Call, Faults, Plan};
use core::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Failures of `membarrier`: of the whole process, since that is what the call is about. Each command is a call, so that a barrier is
/// one, or three if the first is refused.
static MEMBARRIER: Faults = Faults::new();
static ALONE: Mutex<()> = Mutex::new(());

pub(super) fn membarrier(command: i32) -> bool {
    !MEMBARRIER.fails(Call::Membarrier) && command::membarrier(command)
}

/// The [`Faults`] of `membarrier`, which are the process's, for one test at a time: others wait. None to begin with, and none from
/// its end on.
#[derive(Debug)]
pub struct Barriers {
    _alone: MutexGuard<'static, ()>,
}

impl Barriers {
    /// Waits for those of other tests to end.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl Deref for Barriers {
    type Target = Faults;
    fn deref(&self) -> &Faults {
        &MEMBARRIER
    }
}

impl Drop for Barriers {
    fn drop(&mut self) {
        self.plan(Plan::Never);
    }
}
