//! What a C program does wrong ends in one exact line and an abort, found when the queue is flushed or, if so wished, at once.

mod support;
use support::{Program, on_kmem};

/// The rule of `misuse.c`, and its line after `kmem: `; with a second one, if checking every free at once words it differently.
macro_rules! faults {
    ($($rule:ident = $line:literal;)+) => {$(
        #[test]
        fn $rule() {
            let Some(program) = Program::build("misuse.c").filter(|_| on_kmem()) else { return };
            for conf in ["", "check:on", "percpu:locked", "queues:off"] {
                program.run().args(&[stringify!($rule)]).env("KMEM_CONF", conf).limit(20).expect_abort(concat!("kmem: ", $line));
            }
        }
    )+};
}

faults! {
    double_free_small = "double free of 0x* (kmalloc-640)";
    double_free_large = "double free of 0x* (free)";
    double_free_huge = "freed, but not memory of this allocator: 0x* (free)";
    double_free_of_an_aligned_block = "double free of 0x* (kmalloc-4096)";
    double_free_long_after = "double free of 0x* (kmalloc-640)";
    double_free_by_two_threads = "double free of 0x* (kmalloc-640)";
    double_free_with_the_heap_in_use_by_threads = "double free of 0x* (kmalloc-640)";
    free_of_the_stack = "freed, but not memory of this allocator: 0x* (free)";
    free_of_static_memory = "freed, but not memory of this allocator: 0x* (free)";
    free_of_code = "freed, but not memory of this allocator: 0x* (free)";
    free_of_an_address_without_memory = "freed, but not memory of this allocator: 0x10 (free)";
    free_of_an_address_that_is_none = "freed, but not memory of this allocator: 0xdeadbeefdeadbee0 (free)";
    free_inside_a_small_block = "freed, but not the start of an object: 0x* (kmalloc-640)";
    free_of_an_odd_address = "freed, but not the start of an object: 0x*1 (kmalloc-640)";
    free_inside_a_large_block = "freed, but not the start of an object: 0x* (free)";
    free_inside_a_huge_block = "freed, but not memory of this allocator: 0x* (free)";
    free_behind_a_huge_block = "freed, but not memory of this allocator: 0x* (free)";
    realloc_of_the_stack = "freed, but not memory of this allocator: 0x* (free)";
    realloc_of_static_memory = "freed, but not memory of this allocator: 0x* (free)";
    realloc_of_an_address_that_is_none = "freed, but not memory of this allocator: 0xdeadbeefdeadbee0 (free)";
    realloc_of_a_freed_large_block = "double free of 0x* (free)";
    realloc_of_a_freed_huge_block = "freed, but not memory of this allocator: 0x* (free)";
    realloc_inside_a_large_block = "freed, but not the start of an object: 0x* (free)";
    realloc_inside_a_small_block = "freed, but not the start of an object: 0x* (kmalloc-640)";
}
