//! What a program does wrong ends in one exact line and an abort.

use kmem::slubq::Spec;
use kmem::{Flags, Kmem, Slubq};
use kmem_testkit::child::Child;
use std::alloc::{GlobalAlloc, Layout};

#[global_allocator]
static ALLOCATOR: Kmem = Kmem::new();

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn alloc(size: usize) -> *mut u8 {
    // SAFETY: the size is not 0.
    let block = unsafe { ALLOCATOR.alloc(layout(size)) };
    assert!(!block.is_null());
    block
}

/// Frees as the test says, right or wrong.
fn free(block: *mut u8, size: usize) {
    // SAFETY: none; that is what is tested.
    unsafe { ALLOCATOR.dealloc(block, layout(size)) }
}

/// With every free checked at once.
fn checked(test: &str) -> Child {
    Child::new(test).env("KMEM_CONF", "check:on")
}

#[test]
fn double_free_checked() {
    checked("double_free_checked").expect_abort("kmem: double free of 0x* (kmalloc-640)", || {
        let block = alloc(600);
        free(block, 600);
        free(block, 600);
    });
}

#[test]
fn double_free_found_when_the_queue_is_flushed() {
    Child::new("double_free_found_when_the_queue_is_flushed").expect_abort("kmem: double free of 0x* (kmalloc-640)", || {
        let block = alloc(600);
        free(block, 600);
        free(block, 600);
        kmem::trim();
    });
}

#[test]
fn double_free_of_a_large_block() {
    Child::new("double_free_of_a_large_block").expect_abort("kmem: double free of 0x* (large block)", || {
        let block = alloc(100_000);
        free(block, 100_000);
        free(block, 100_000);
    });
}

#[test]
fn double_free_of_a_huge_block() {
    Child::new("double_free_of_a_huge_block").expect_abort(
        "kmem: freed, but not memory of this allocator: 0x* (large block)",
        || {
            let block = alloc(50 << 20);
            free(block, 50 << 20);
            free(block, 50 << 20);
        },
    );
}

#[test]
fn wrong_layout() {
    checked("wrong_layout").expect_abort("kmem: freed with the wrong layout or to the wrong cache: 0x* (kmalloc-64)", || {
        free(alloc(600), 64);
    });
}

#[test]
fn wrong_layout_found_when_the_queue_is_flushed() {
    Child::new("wrong_layout_found_when_the_queue_is_flushed").expect_abort(
        "kmem: freed with the wrong layout or to the wrong cache: 0x* (kmalloc-64)",
        || {
            free(alloc(600), 64);
            kmem::trim();
        },
    );
}

#[test]
fn small_freed_as_large() {
    Child::new("small_freed_as_large")
        .expect_abort("kmem: freed with the wrong layout or to the wrong cache: 0x* (large block)", || free(alloc(600), 100_000));
}

#[test]
fn large_freed_with_the_wrong_size() {
    Child::new("large_freed_with_the_wrong_size")
        .expect_abort("kmem: large block freed with the wrong size: 0x* (large block)", || free(alloc(100_000), 200_000));
}

#[test]
fn huge_freed_with_the_wrong_size() {
    Child::new("huge_freed_with_the_wrong_size")
        .expect_abort("kmem: large block freed with the wrong size: 0x* (huge block)", || free(alloc(50 << 20), 60 << 20));
}

#[test]
fn foreign_pointer() {
    checked("foreign_pointer").expect_abort("kmem: freed, but not memory of this allocator: 0x* (kmalloc-64)", || {
        let mut here = [0_u64; 8];
        free((&raw mut here).cast(), 64);
    });
}

#[test]
fn foreign_large_pointer() {
    Child::new("foreign_large_pointer").expect_abort("kmem: freed, but not memory of this allocator: 0x* (large block)", || {
        let mut here = [0_u64; 8];
        free((&raw mut here).cast(), 100_000);
    });
}

#[test]
fn unaligned_pointer() {
    checked("unaligned_pointer").expect_abort("kmem: freed, but not the start of an object: 0x* (kmalloc-640)", || {
        free(alloc(600).wrapping_add(8), 600);
    });
}

#[test]
fn inside_a_large_block() {
    Child::new("inside_a_large_block").expect_abort("kmem: freed, but not the start of an object: 0x* (large block)", || {
        free(alloc(100_000).wrapping_add(64), 100_000)
    });
}

#[test]
fn use_of_a_destroyed_cache() {
    let line = "kmem: use of a destroyed cache at 0x* (gone)";
    let test = "use_of_a_destroyed_cache";
    let destroyed = || {
        let spec = Spec::new("gone", 100, 8).with(Flags::NO_MERGE);
        let cache = Slubq::get().create(&spec).unwrap();
        let object = Slubq::get().alloc_object(cache);
        // SAFETY: allocated above.
        unsafe { Slubq::get().free_object(cache, object) };
        // SAFETY: what comes after is what is tested.
        unsafe { Slubq::get().destroy(cache) }.unwrap();
        (cache, object)
    };
    Child::new(test).expect_abort(line, || {
        let _ = Slubq::get().alloc_object(destroyed().0);
    });
    Child::new(test).expect_abort(line, || {
        let (cache, object) = destroyed();
        // SAFETY: none; that is what is tested.
        unsafe { Slubq::get().free_object(cache, object) };
    });
    Child::new(test).expect_abort(line, || {
        // SAFETY: none; that is what is tested.
        let _ = unsafe { Slubq::get().destroy(destroyed().0) };
    });
}

#[test]
fn an_overdrawn_reservation() {
    Child::new("an_overdrawn_reservation").expect_abort("kmem: reservation overdrawn at 0x* (kmalloc-64)", || {
        let cache = Slubq::get().create(&Spec::new("any", 64, 8)).unwrap();
        let mut reservation = Slubq::get().reserve(cache, 2).unwrap();
        for _ in 0..3 {
            let _ = reservation.alloc();
        }
    });
}

#[test]
fn unknown_settings_are_reported_and_skipped() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--list"])
        .env("KMEM_CONF", "nonesuch:1,percpu:sideways,decay_ms:5")
        .output()
        .unwrap();
    assert!(output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors, "kmem: no such knob: nonesuch:1\nkmem: not a value of this knob: percpu:sideways\n");
}
