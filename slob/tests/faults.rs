//! What a checked heap says to mistakes, and that an unchecked one ends every operation whatever it finds.

mod common;

use common::{Strict, faults};
use kmem_base::fault::Fault;
use kmem_slob::{Book, Fixed, Heap, Marks, Unchecked};
use kmem_testkit::SplitMix64;
use std::alloc::Layout;

both!(
    a_double_free,
    a_size_that_reaches_into_a_hole,
    memory_of_somebody_else,
    the_table,
    an_address_that_is_no_block,
    a_write_after_free,
    a_resize_of_what_is_free,
    no_list_leads_out_of_its_page_or_in_circles
);

fn buffer(len: usize) -> &'static mut [u8] {
    Vec::leak(vec![0; len])
}

fn heap<B: Book>() -> Heap<Fixed, Strict, B> {
    Heap::new(Fixed::new(buffer(1 << 16)))
}

/// Frees `at`, which is a mistake; returns what the heap said.
fn mistake<B: Book>(heap: &mut Heap<Fixed, Strict, B>, at: *mut u8, layout: Layout) -> Vec<(Fault, usize)> {
    let before = heap.stats();
    // SAFETY: a checked heap refuses.
    unsafe { heap.dealloc(at, layout) };
    assert_eq!((heap.check(), heap.stats()), (Ok(()), before), "nothing was done");
    faults()
}

fn a_double_free<B: Book>() {
    let mut heap = heap::<B>();
    for size in [2, 8, 100, 4096, 9000] {
        let layout = Layout::from_size_align(size, 2).unwrap();
        let (block, _keep) = (heap.alloc(layout), heap.alloc(layout));
        // SAFETY: live, once.
        unsafe { heap.dealloc(block, layout) };
        assert_eq!(mistake(&mut heap, block, layout), [(Fault::DoubleFree, block.addr())]);
    }
}

fn a_size_that_reaches_into_a_hole<B: Book>() {
    let mut heap = heap::<B>();
    let layout = Layout::from_size_align(64, 8).unwrap();
    let block = heap.alloc(layout);
    let wrong = Layout::from_size_align(128, 8).unwrap();
    assert_eq!(mistake(&mut heap, block, wrong), [(Fault::DoubleFree, block.addr())]);
}

fn memory_of_somebody_else<B: Book>() {
    let mut heap = heap::<B>();
    let layout = Layout::new::<u64>();
    let block = heap.alloc(layout);
    let (mut other, far) = (0_u64, block.wrapping_add(1 << 20));
    for foreign in [(&raw mut other).cast(), far, std::ptr::null_mut()] {
        assert_eq!(mistake(&mut heap, foreign, layout), [(Fault::Foreign, foreign.addr())]);
    }
    let large = Layout::from_size_align(1 << 17, 8).unwrap();
    assert_eq!(mistake(&mut heap, block, large), [(Fault::Foreign, block.addr())], "larger than all there is");
}

fn the_table<B: Book>() {
    let buffer = buffer(1 << 16);
    let start = buffer.as_mut_ptr();
    let mut heap = Heap::<_, Strict, B>::new(Fixed::new(buffer));
    let layout = Layout::new::<u64>();
    heap.alloc(layout);
    let table = start.wrapping_add(start.align_offset(8));
    assert_eq!(mistake(&mut heap, table, layout), [(Fault::Foreign, table.addr())]);
}

fn an_address_that_is_no_block<B: Book>() {
    let mut heap = heap::<B>();
    let layout = Layout::from_size_align(64, 16).unwrap();
    let block = heap.alloc(layout);
    for skew in [1, 8] {
        let at = block.wrapping_add(skew);
        assert_eq!(mistake(&mut heap, at, layout), [(Fault::Misaligned, at.addr())]);
    }
}

fn a_write_after_free<B: Book>() {
    let mut heap = heap::<B>();
    let layout = Layout::from_size_align(64, 8).unwrap();
    let blocks: Vec<_> = (0..8).map(|_| heap.alloc(layout)).collect();
    // SAFETY: live; then the mistake.
    unsafe {
        heap.dealloc(blocks[3], layout);
        blocks[3].cast::<[u8; 8]>().write([0x11; 8]);
        heap.dealloc(blocks[6], layout);
    }
    assert_eq!(faults(), [(Fault::Corrupted, blocks[6].addr())]);
    assert!(heap.check().is_err());
    heap.alloc(layout);
    assert!(faults().iter().all(|(fault, _)| *fault == Fault::Corrupted));
}

fn a_resize_of_what_is_free<B: Book>() {
    let mut heap = heap::<B>();
    let layout = Layout::from_size_align(64, 8).unwrap();
    let (block, _keep) = (heap.alloc(layout), heap.alloc(layout));
    // SAFETY: a checked heap refuses the second.
    unsafe {
        heap.dealloc(block, layout);
        assert!(heap.realloc(block, layout, 100).is_null());
    }
    assert_eq!(faults(), [(Fault::DoubleFree, block.addr())]);
}

/// Free memory is overwritten with anything; whatever comes of it, every operation ends, and writes nothing outside the buffer.
fn no_list_leads_out_of_its_page_or_in_circles<B: Book>() {
    for seed in 0..200 {
        let mut rng = SplitMix64::new(seed);
        let memory = buffer(6 * 4096);
        memory.fill(0x5A);
        let (guard, len) = (4096, memory.len() - 2 * 4096);
        let start = memory.as_mut_ptr().wrapping_add(guard);
        // SAFETY: within the buffer.
        let mut heap = Heap::<_, Unchecked, B>::new(unsafe { Fixed::from_raw(start, len) });
        let mut blocks = Vec::new();
        for step in 0..400 {
            let layout = Layout::from_size_align(rng.between(1, 200), 1 << rng.below(5)).unwrap();
            if rng.below(2) == 0 {
                let at = heap.alloc(layout);
                let inside = (start.addr()..start.addr() + len).contains(&at.addr());
                assert!(at.is_null() || inside && at.addr() + layout.size() <= start.addr() + len);
                blocks.extend((!at.is_null()).then_some((at, layout)));
            } else if !blocks.is_empty() {
                let (at, layout) = blocks.swap_remove(rng.below(blocks.len()));
                // SAFETY: live, as far as a heap whose lists were overwritten can say.
                unsafe { heap.dealloc(at, layout) };
            }
            if step == 200 {
                // Behind the table, everything that a list may be in.
                for at in (512..len - 3).step_by(4) {
                    // Numbers that are too large, and such as may be sizes or places; others stay.
                    let number = match rng.below(8) {
                        0 => rng.next_u64() as u32,
                        1 => rng.below(3000) as u32,
                        2 => rng.below(8) as u32,
                        _ => continue,
                    };
                    // SAFETY: within the buffer.
                    unsafe { start.add(at).cast::<u32>().write_unaligned(number) };
                }
            }
        }
        let outside = (0..guard).chain(guard + len..memory.len());
        assert!(outside.into_iter().all(|at| memory[at] == 0x5A), "seed {seed}");
    }
}

/// Whatever bit is wrong of what a hole says, of a bin's head or of a mark: `check` sees it.
#[test]
fn each_bit_of_the_marks_counts() {
    let buffer = buffer(1 << 13);
    let start = buffer.as_mut_ptr();
    let mut heap = Heap::<_, Unchecked, Marks>::new(Fixed::new(buffer));
    let layouts = [16, 16, 200, 16, 16, 200, 16, 300].map(|size| Layout::from_size_align(size, 16).unwrap());
    let blocks = layouts.map(|layout| heap.alloc(layout));
    // What is in use says nothing that could be taken for a hole.
    // SAFETY: live blocks.
    blocks.iter().zip(layouts).for_each(|(at, layout)| unsafe { at.write_bytes(0, layout.size()) });
    let stats = heap.stats();
    for index in [0, 2, 4, 5, 7] {
        // SAFETY: live. The fourth and the fifth become one hole, the last one's joins the rest.
        unsafe { heap.dealloc(blocks[index], layouts[index]) };
    }
    assert_eq!(heap.check(), Ok(()));
    let mut places: Vec<*mut u8> = Vec::new();
    // What holes say: three numbers at the beginning, one at the end. Only the last number is at the end of a hole of one unit.
    for (at, size) in [(blocks[0], 16), (blocks[2], 208), (blocks[4], 16 + 208)] {
        places.extend((0..12).map(|byte| at.wrapping_add(byte)));
        places.extend((size - 4..size).map(|byte| at.wrapping_add(byte)));
    }
    // The table: 64 heads; a word for what is in front of the heap; the marks, but for the last words', whose units there are not.
    let table = start.wrapping_add(start.align_offset(16));
    places.extend((0..64 * 4).chain(65 * 4..stats.table - 12).map(|byte| table.wrapping_add(byte)));
    for place in places {
        for bit in 0..8 {
            // SAFETY: within the buffer, which is put in order again.
            unsafe {
                place.write(place.read() ^ 1 << bit);
                assert!(heap.check().is_err(), "bit {bit} at {}", place.addr() - start.addr());
                place.write(place.read() ^ 1 << bit);
            }
        }
    }
    assert_eq!(heap.check(), Ok(()));
}

/// The smaller the hole, the more of it a write after free hits: each number by itself, before the neighbour is freed.
#[test]
fn a_write_to_any_number_of_a_hole() {
    for (number, neighbour) in [(0, 0), (1, 2), (2, 2), (3, 2)].into_iter().chain([(0, 2), (3, 0)]) {
        let mut heap = heap::<Marks>();
        let layout = Layout::from_size_align(16, 16).unwrap();
        let blocks = [(); 4].map(|()| heap.alloc(layout));
        // SAFETY: live; then the mistake.
        unsafe {
            heap.dealloc(blocks[1], layout);
            blocks[1].cast::<u32>().add(number).write(0x1111);
            heap.dealloc(blocks[neighbour], layout);
        }
        assert_eq!(faults(), [(Fault::Corrupted, blocks[neighbour].addr())], "number {number}, freed {neighbour}");
    }
}
