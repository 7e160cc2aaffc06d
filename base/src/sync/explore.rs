//! Runs a test's model and says how many executions it took. The crates above have it by its path.

extern crate std;

use std::eprintln;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Branches of one execution: setting up takes many, which cost nothing as there is no other thread yet.
const BRANCHES: usize = 100_000;

/// Runs `model` in every order of its threads that the memory model and the bound on preemptions allow.
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_within(usize::MAX, model);
}

/// The same with at most `preemptions`, for a model that would take minutes.
pub(crate) fn explore_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let count = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.max_branches = BRANCHES;
    let bound = builder.preemption_bound.unwrap_or(usize::MAX).min(preemptions);
    builder.preemption_bound = (bound < usize::MAX).then_some(bound);
    let start = processor_time();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let (count, seconds) = (executions.load(Ordering::Relaxed), (processor_time() - start).as_secs_f64());
    eprintln!("{}: {count} executions, {seconds:.2} s", std::thread::current().name().unwrap_or("?"));
}

/// What this thread has used of its processor: the machine may be busy with other things.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
