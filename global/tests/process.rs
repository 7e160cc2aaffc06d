//! What happens to whole processes: fork, limits, forced configurations.

use kmem::{Kmem, Slubq};
use kmem_testkit::child::{Child, run_ok};
use kmem_testkit::forks;
use kmem_testkit::{GlobalSubject, Profile, StressConfig, ops, run_or_panic, stress_or_panic};

#[global_allocator]
static ALLOCATOR: Kmem = Kmem::new();

fn work(seed: u64) {
    let subject = GlobalSubject::new(&ALLOCATOR);
    run_or_panic(&subject, &ops(seed, 5000, Profile::Small));
    let config = StressConfig { threads: 4, ops_per_thread: 4000, seed, ..StressConfig::default() };
    stress_or_panic(&subject, &config);
    kmem::trim();
    kmem::check().unwrap();
}

fn fork_storm() {
    let trim = || {
        kmem::trim();
    };
    // What other threads were in the middle of freeing is lost in a child, and nothing else.
    let lost = |broken| matches!(broken, kmem::slubq::Broken::Bits | kmem::slubq::Broken::Listed);
    forks::storm(60, &trim, &|| Slubq::get().check().map_or_else(lost, |()| true));
}

#[test]
fn a_threaded_program_forks() {
    Child::new("a_threaded_program_forks").timeout(100).expect_ok(fork_storm);
}

#[test]
fn a_threaded_program_forks_with_locked_rows() {
    Child::new("a_threaded_program_forks_with_locked_rows").env("KMEM_CONF", "percpu:locked").timeout(100).expect_ok(|| {
        assert_eq!(Slubq::get().mode(), kmem_base::percpu::Mode::Locked);
        fork_storm();
    });
}

#[test]
fn it_works_in_256_mib_of_address_space() {
    Child::new("it_works_in_256_mib_of_address_space").address_space(256 << 20).expect_ok(|| {
        work(1);
        let mut held = Vec::new();
        // Until nothing is left, and again once it is given back.
        for _ in 0..2 {
            while let Some(block) = try_block(1 << 20) {
                held.push(block);
                assert!(held.len() < 256);
            }
            assert!(held.len() > 32, "only {} MiB", held.len());
            held.clear();
            kmem::check().unwrap();
        }
    });
}

fn try_block(size: usize) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    block.try_reserve_exact(size).ok()?;
    block.resize(size, 1);
    Some(block)
}

#[test]
fn every_forced_configuration_works() {
    let test = "every_forced_configuration_works";
    run_ok(test, &[("KMEM_CONF", "percpu:locked")], || work(2));
    run_ok(test, &[("KMEM_CONF", "queues:off")], || work(3));
    run_ok(test, &[("KMEM_CONF", "check:on")], || work(4));
    run_ok(test, &[("KMEM_CONF", "cpus:1,shards:4")], || work(5));
    run_ok(test, &[("KMEM_CONF", "decay_ms:1,stash_kb:0,depot_kb:0")], || work(6));
    run_ok(test, &[("KMEM_CONF", "nodes:2,shards:8,huge_kb:256,arena_mb:4")], || work(7));
    run_ok(test, &[("GLIBC_TUNABLES", "glibc.pthread.rseq=0")], || {
        assert_eq!(Slubq::get().mode(), kmem_base::percpu::Mode::Locked);
        work(8);
    });
}

#[test]
fn restartable_sequences_are_used_where_the_system_has_them() {
    run_ok("restartable_sequences_are_used_where_the_system_has_them", &[("KMEM_CONF", "")], || {
        drop(vec![1]);
        let modern = std::path::Path::new("/lib64/ld-linux-x86-64.so.2").exists() && glibc() >= (2, 35);
        assert!(!modern || Slubq::get().mode() == kmem_base::percpu::Mode::Restartable);
    });
}

fn glibc() -> (u32, u32) {
    // SAFETY: returns a static string.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) }.to_str().unwrap();
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
