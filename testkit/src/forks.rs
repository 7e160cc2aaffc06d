//! Forks in a threaded program.

use std::io::Error;
use std::sync::atomic::{AtomicBool, Ordering};

/// Forks `forks` times while three threads allocate from the global allocator and one of them calls `trim`. Each child allocates, too,
/// trims, and leaves; `sound` says there whether the allocator is as it should be.
///
/// # Panics
/// When a child cannot be made, does not end well, or finds the allocator unsound.
pub fn storm(forks: usize, trim: &(dyn Fn() + Sync), sound: &dyn Fn() -> bool) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3_usize {
            let done = &done;
            scope.spawn(move || {
                let mut held = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    held.push(vec![thread as u8; 1 + held.len() * 37 % 50_000]);
                    if held.len() > 300 {
                        held.clear();
                        if thread == 0 {
                            trim();
                        }
                    }
                }
            });
        }
        for round in 0..forks {
            // SAFETY: the child only allocates, and leaves with `_exit`.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "fork: {}", Error::last_os_error());
            if child == 0 {
                let well = allocates(round, trim) && sound();
                // SAFETY: leaves at once; the other threads do not exist here.
                unsafe { libc::_exit(i32::from(!well)) };
            }
            let mut status = 0;
            // SAFETY: writes the status of a child of ours.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child of round {round} failed");
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// What a child does with the allocator.
fn allocates(round: usize, trim: &dyn Fn()) -> bool {
    let strings: Vec<_> = (0..2000).map(|i| "x".repeat(i % 300 + round % 7)).collect();
    let sum: usize = strings.iter().map(String::len).sum();
    drop(strings);
    drop(vec![0_u8; 3 << 20]);
    trim();
    sum > 0
}
