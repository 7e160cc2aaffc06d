//! Programs in all the situations that programs get into: on the way up, forking, out of memory, locked in. One process per rule.

mod support;
use std::path::Path;
use support::{Program, Run, empty_directory, library, on_kmem};

/// A test per rule of a program.
macro_rules! rules {
    ($source:literal: $($rule:ident)+) => {$(
        #[test]
        fn $rule() {
            if let Some(program) = Program::build($source) {
                let empty = empty_directory(concat!("empty-", stringify!($rule)));
                program.run().args(&[stringify!($rule)]).env("KMEM_EMPTY", empty).limit(60).expect_ok();
            }
        }
    )+};
}

rules! { "bootstrap.c": first_call_from_a_constructor calls_at_exit }

rules! { "forks.c":
    children_of_a_threaded_program_allocate_and_free
    atfork_handlers_that_allocate
    atfork_handlers_registered_late_that_allocate
    grandchildren_with_threads
    a_child_frees_blocks_of_threads_that_it_does_not_have
    vfork_and_exec_beside_threads
    posix_spawn_beside_threads
    popen_and_system_beside_threads
    fork_from_a_signal_handler
    fork_and_exec_from_a_signal_handler
}

rules! { "threads.c":
    ten_thousand_short_threads
    detached_threads
    the_program_ends_while_detached_threads_allocate
    key_destructors_allocate_and_free
    cancelled_threads
    what_one_thread_allocates_another_frees
    threads_with_the_smallest_stack
}

rules! { "cancel.c":
    a_cancelled_thread_goes_through_the_allocator
    a_cancelled_thread_waits_for_a_lock
    cancelled_threads_on_more_cpus_than_at_first
}

rules! { "limits_of_the_system.c":
    without_address_space_malloc_answers_null_and_recovers
    address_space_is_left_for_the_program
    a_limit_set_while_running
    a_limit_set_while_running_leaves_room_for_others
    realloc_without_address_space_keeps_the_block
    realloc_moves_in_the_address_space_that_its_growth_takes
    threads_without_address_space
    data_limit
    locked_memory_is_what_is_used
    first_allocation_with_all_memory_locked
    little_lockable_memory
    in_an_empty_root_directory
    system_calls_of_a_running_program
    system_calls_of_the_first_allocation
    refused_system_calls_are_done_without
    system_calls_refused_later_are_done_without
}

/// Bound when first called, and all at once before anything runs.
#[test]
fn first_call_from_an_ifunc_resolver() {
    for binding in ["-Wl,-z,lazy", "-Wl,-z,now"] {
        for kind in [&[binding, "-fPIE", "-pie"], &[binding, "-fno-pie", "-no-pie"]] {
            if let Some(program) = Program::build_with("bootstrap.c", kind) {
                program.holds(&["first_call_from_an_ifunc_resolver", "first_call_from_a_constructor"]);
            }
        }
    }
}

#[test]
fn first_call_from_the_resolver_of_a_library() {
    let Some(resolver) = Program::build_with("resolver_library.c", &["-shared", "-fPIC"]) else { return };
    let link = [resolver.0.to_str().expect("text"), "-Wl,--no-as-needed"];
    if let Some(program) = Program::build_with("resolver_program.c", &link) {
        program.holds(&[]);
    }
}

/// Heap profilers wrap `malloc` and ask `dlsym` for it in their first call.
#[test]
fn first_call_from_a_wrapper_that_asks_dlsym() {
    let Some(wrapper) = Program::build_with("wrapper_library.c", &["-shared", "-fPIC"]) else { return };
    for source in ["basics.c", "realloc.c", "bootstrap.c"] {
        if let Some(program) = Program::build(source) {
            program.run().preload_before(&wrapper.0).expect_ok();
        }
    }
}

/// A daemon that has closed its descriptors is stopped all the same.
#[test]
fn a_fault_without_standard_error() {
    let Some(program) = Program::build("limits_of_the_system.c") else { return };
    let output = program.run().args(&["a_fault_without_standard_error"]).limit(20).output();
    assert!(!output.late && std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(libc::SIGABRT), "{output}");
}

/// Python, because it loads libraries late: no static thread-local storage may be needed then.
#[test]
fn loaded_late_without_static_tls() {
    let Some(kmem) = library().filter(|_| on_kmem()) else { return };
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/exhausted_tls.py");
    // Large ones first, then ever smaller ones, until nothing fits any more. A file is loaded once, hence copies.
    let mut takers = Vec::new();
    for size in [4096, 1024, 512, 256, 128, 64, 32, 16, 8] {
        let Some(taker) = Program::build_with("tls_library.c", &["-shared", "-fPIC", &format!("-DTAKEN={size}")]) else { return };
        for copy in 0..6 {
            let path = taker.0.with_extension(copy.to_string());
            std::fs::copy(&taker.0, &path).unwrap();
            takers.push(path);
        }
    }
    let run = || Run::new("python3").without_preload().args(&[script.as_path(), kmem]);
    assert!(run().args(&takers).expect_ok().stdout.contains("used"));
    assert!(run().expect_ok().stdout.contains("unloaded"));
}

/// Threads, forks and programs under an oracle. `KMEM_STORM_SECONDS` makes it longer.
#[test]
fn storm_of_threads_forks_and_programs() {
    let Some(program) = Program::build("storm.c") else { return };
    let seconds: u64 = std::env::var("KMEM_STORM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for conf in ["", "percpu:locked", "decay_ms:1,huge_kb:256"] {
        let output =
            program.run().env("KMEM_CONF", conf).env("KMEM_STORM_SECONDS", seconds.to_string()).limit(seconds + 60).expect_ok();
        println!("{conf}: {}", output.stdout);
    }
}
