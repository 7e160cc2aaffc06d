//! Runs a model and says how many executions it took. Used by the models of the crates above, too.

extern crate std;

use std::eprintln;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Branches of one execution: setting up takes many, which cost nothing as there is no other thread yet.
const BRANCHES: usize = 100_000;

/// Runs `model` in every order of its threads that the memory model and the bound on preemptions allow.
pub(crate) fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let count = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.max_branches = BRANCHES;
    let start = Instant::now();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    eprintln!("{name}: {} executions, {:.2} s", executions.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
}
