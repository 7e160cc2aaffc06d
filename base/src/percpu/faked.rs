//! CPU numbers made up by a test, so that the locked rows of a large machine can be tested on a small one.

extern crate std;

use super::cpu as real;
use core::cell::Cell;

std::thread_local! {
    static CPU: Cell<Option<u32>> = const { Cell::new(None) };
}

/// From now on this thread is on `cpu` as far as locked rows are concerned; `None`: where the system says.
pub fn on_cpu(cpu: Option<u32>) {
    CPU.set(cpu);
}

/// What this thread has said.
#[must_use]
pub fn fake_cpu() -> Option<u32> {
    CPU.get()
}

pub(crate) fn cpu() -> u32 {
    CPU.get().unwrap_or_else(real::cpu)
}
