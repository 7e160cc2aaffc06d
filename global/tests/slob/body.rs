// The tests of slob as a process's allocator, whichever book `Own` and `Checked` have.

use kmem::Kmem;
use kmem_testkit::child::Child;
use kmem_testkit::{GlobalSubject, Hooks, Profile, StressConfig, ops, run_or_panic, stress_or_panic};
use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

#[global_allocator]
static ALLOCATOR: Kmem<Own> = Kmem::over();
static CHECKED: Kmem<Checked> = Kmem::over();

fn check() -> Result<(), String> {
    Own::get().check().map_err(|broken| format!("{broken:?}"))
}

#[test]
fn the_oracle_finds_nothing() {
    let hooks = Hooks { check: Some(Box::new(check)), trim: Some(Box::new(|| _ = ALLOCATOR.trim())), ..Hooks::default() };
    let subject = GlobalSubject::new(&ALLOCATOR).with_hooks(hooks);
    for (seed, profile) in [(1, Profile::Small), (2, Profile::Mixed), (3, Profile::Large)] {
        run_or_panic(&subject, &ops(seed, if profile == Profile::Large { 200 } else { 3000 }, profile));
    }
    stress_or_panic(
        &subject,
        &StressConfig { threads: 4, ops_per_thread: 4000, seed: 5, respawn: true, ..StressConfig::default() },
    );
}

#[test]
fn collections_live_in_it() {
    let mut words = BTreeMap::new();
    for number in 0..20_000_u32 {
        words.insert(format!("word {}", number.wrapping_mul(2_654_435_761) % 5000), vec![number; number as usize % 40]);
    }
    assert_eq!(words.len(), 5000);
    assert!(Own::get().stats().used > 5000 * 30);
    words.retain(|_, numbers| numbers.len() % 2 == 0);
    check().unwrap();
}

fn fork_while_others_allocate() {
    static DONE: AtomicBool = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                while !DONE.load(Ordering::Relaxed) {
                    drop((0..50).map(|n| vec![n; n * thread]).collect::<Vec<_>>());
                }
            });
        }
        for _ in 0..30 {
            // SAFETY: the child allocates and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let sound = (0..100).map(|n| vec![1_u8; n].len()).sum::<usize>() == 4950 && check().is_ok();
                // SAFETY: ends the child without running what is the parent's.
                unsafe { libc::_exit(i32::from(!sound)) };
            }
            let mut status = -1;
            // SAFETY: waits for that child.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0);
        }
        DONE.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_threaded_program_forks() {
    Child::new("a_threaded_program_forks").timeout(100).expect_ok(fork_while_others_allocate);
}

#[test]
fn little_address_space_is_enough() {
    Child::new("little_address_space_is_enough").address_space(128 << 20).expect_ok(|| {
        for _ in 0..2 {
            let mut held = Vec::new();
            loop {
                let mut block = Vec::<u8>::new();
                if block.try_reserve_exact(1 << 20).is_err() {
                    break;
                }
                block.resize(1 << 20, 1);
                held.push(block);
            }
            assert!(held.len() > 16, "only {} MiB", held.len());
        }
        check().unwrap();
    });
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn alloc(size: usize) -> *mut u8 {
    // SAFETY: the size is not 0.
    unsafe { CHECKED.alloc(layout(size)) }
}

/// Frees as the test says, right or wrong.
fn free(block: *mut u8, size: usize) {
    // SAFETY: none; that is what is tested.
    unsafe { CHECKED.dealloc(block, layout(size)) }
}

#[test]
fn a_double_free() {
    Child::new("a_double_free").expect_abort("kmem: double free of 0x* (slob)", || {
        let (block, _keep) = (alloc(100), alloc(100));
        free(block, 100);
        free(block, 100);
    });
}

#[test]
fn memory_of_somebody_else() {
    Child::new("memory_of_somebody_else").expect_abort("kmem: freed, but not memory of this allocator: 0x* (slob)", || {
        alloc(8);
        free((&raw mut *Box::new(1_u64)).cast(), 8);
    });
}

#[test]
fn an_address_inside_a_block() {
    Child::new("an_address_inside_a_block").expect_abort("kmem: freed, but not the start of an object: 0x* (slob)", || {
        free(alloc(100).wrapping_add(1), 8);
    });
}

#[test]
fn a_write_after_free() {
    Child::new("a_write_after_free").expect_abort("kmem: free memory was overwritten near 0x* (slob)", || {
        let (block, next) = (alloc(64), alloc(64));
        free(block, 64);
        // SAFETY: none; that is what is tested.
        unsafe { block.cast::<[u8; 8]>().write([0x11; 8]) };
        free(next, 64);
    });
}
