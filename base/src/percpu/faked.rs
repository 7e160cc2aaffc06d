//! CPU numbers made up by a test, so that the locked rows of a large machine can be tested on a small one.

use super::cpu as real;
use crate::sync::{AtomicPtr, Ordering};
use core::ptr::null_mut;

static FAKE: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// From now on `fake` says which CPU a thread is on, or `None` where the system shall. Only locked rows go by it.
pub fn fake_cpus(fake: fn() -> Option<u32>) {
    FAKE.store(fake as *mut (), Ordering::Relaxed);
}

pub(super) fn cpu() -> u32 {
    let fake = FAKE.load(Ordering::Relaxed);
    if fake.is_null() {
        return real::cpu();
    }
    // SAFETY: only `fake_cpus` stores here, and what it stores is such a function.
    let fake = unsafe { core::mem::transmute::<*mut (), fn() -> Option<u32>>(fake) };
    fake().unwrap_or_else(real::cpu)
}
