//! Collections that take an allocator, on stable Rust.

#![cfg(feature = "allocator-api2")]

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use kmem::Kmem;
use std::alloc::Layout;

static HEAP: Kmem = Kmem::new();

#[test]
fn vectors_and_boxes_live_in_the_heap() {
    let mut list = Vec::new_in(&HEAP);
    (0..100_000_u64).for_each(|n| list.push(n));
    list.truncate(10);
    list.shrink_to_fit();
    assert_eq!(list.iter().sum::<u64>(), 45);
    let boxed = Box::new_in([7_u8; 3000], &HEAP);
    assert!(boxed.iter().all(|&byte| byte == 7));
    drop((list, boxed));
    assert!(kmem::check().is_ok());
}

#[test]
fn layouts_change_size_and_alignment() {
    let layout = |size, align| Layout::from_size_align(size, align).unwrap();
    let empty = HEAP.allocate(layout(0, 64)).unwrap();
    let zeroed = HEAP.allocate_zeroed(layout(5000, 8)).unwrap();
    // SAFETY: each block is given up with the layout that it had last.
    unsafe {
        assert!(zeroed.as_ref().iter().all(|&byte| byte == 0));
        zeroed.cast::<u8>().write(9);
        let grown = HEAP.grow_zeroed(zeroed.cast(), layout(5000, 8), layout(70_000, 4096)).unwrap();
        assert!(grown.cast::<u8>().as_ptr().addr().is_multiple_of(4096));
        assert_eq!((grown.as_ref()[0], grown.as_ref()[69_999]), (9, 0));
        let shrunk = HEAP.shrink(grown.cast(), layout(70_000, 4096), layout(10, 1)).unwrap();
        assert_eq!(shrunk.cast::<u8>().read(), 9);
        HEAP.deallocate(shrunk.cast(), layout(10, 1));
        HEAP.deallocate(empty.cast(), layout(0, 64));
    }
}
