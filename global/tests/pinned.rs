//! Programs on CPUs that their table of queues has no row for.

use kmem::{Kmem, Slubq};
use kmem_base::percpu::Mode;
use kmem_testkit::child::Child;
use kmem_testkit::cpu::{allowed, pin};
use kmem_testkit::{GlobalSubject, Profile, StressConfig, ops, run_or_panic, stress_or_panic};

#[global_allocator]
static ALLOCATOR: Kmem = Kmem::new();

/// Works on the CPU on which it was started, and then on `all`, of which the table knows the first at most.
fn work_from_one_cpu_to_all(start: usize, all: &[usize]) {
    let subject = GlobalSubject::new(&ALLOCATOR);
    assert_eq!(allowed(), [start], "it was started there");
    assert_eq!(Slubq::get().percpu().cpus(), 1);
    run_or_panic(&subject, &ops(1, 4000, Profile::Small));
    let config = StressConfig { threads: 4, ops_per_thread: 2000, ..StressConfig::default() };
    stress_or_panic(&subject, &config);
    pin(all).unwrap();
    stress_or_panic(&subject, &StressConfig { threads: 2 * all.len(), seed: 2, ..config });
    kmem::trim();
    kmem::check().unwrap();
}

/// Where the program may run. A child sees only where it was started, so that it is told.
fn everywhere() -> Vec<usize> {
    match std::env::var("KMEM_TEST_CPUS") {
        Ok(list) => list.split(',').map(|cpu| cpu.parse().unwrap()).collect(),
        Err(_) => allowed(),
    }
}

#[track_caller]
fn child(test: &str, conf: &str, all: &[usize]) -> Child {
    let list: Vec<_> = all.iter().map(usize::to_string).collect();
    Child::new(test).env("KMEM_TEST_CPUS", &list.join(",")).env("KMEM_CONF", conf).pinned(all[all.len() - 1])
}

#[test]
fn a_program_may_start_on_a_cpu_without_a_row_and_spread_from_there() {
    let test = "a_program_may_start_on_a_cpu_without_a_row_and_spread_from_there";
    let all = everywhere();
    let last = all[all.len() - 1];
    child(test, "cpus:1", &all).expect_ok(|| work_from_one_cpu_to_all(last, &all));
    child(test, "cpus:1,shards:4", &all).expect_ok(|| work_from_one_cpu_to_all(last, &all));
    child(test, "cpus:1,percpu:locked", &all).expect_ok(|| {
        assert_eq!(Slubq::get().mode(), Mode::Locked);
        work_from_one_cpu_to_all(last, &all);
    });
}
