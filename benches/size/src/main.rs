//! A program that allocates, resizes and frees through `#[global_allocator]`, and nothing else: what is left in it is the allocator.
//! It says `ok` and ends with 0 if every block kept what was written to it.
#![no_std]
#![no_main]

#[cfg_attr(any(feature = "slob", feature = "marks"), allow(dead_code))]
mod common;
#[cfg_attr(feature = "bump", path = "bump.rs")]
#[cfg_attr(feature = "slob", path = "slob.rs")]
#[cfg_attr(feature = "marks", path = "marks.rs")]
#[cfg_attr(feature = "talc", path = "talc.rs")]
#[cfg_attr(feature = "dlmalloc", path = "dlmalloc.rs")]
#[cfg_attr(feature = "rlsf", path = "rlsf.rs")]
#[cfg_attr(feature = "linked_list", path = "linked_list.rs")]
#[cfg_attr(feature = "llff", path = "llff.rs")]
#[cfg_attr(feature = "tlsf", path = "tlsf.rs")]
#[cfg_attr(feature = "buddy", path = "buddy.rs")]
mod heap;
mod system;

extern crate alloc;

use alloc::alloc::{Layout, alloc, dealloc, realloc};
use core::hint::black_box;

/// Bytes of the heap.
pub const SIZE: usize = 1 << 20;
/// The heap's memory. Aligned to a word as a program's would be: a page would be padding in what is measured.
#[repr(align(16))]
pub struct Memory(pub [u8; SIZE]);

const BLOCKS: usize = 64;

/// What `_start` calls.
fn main() -> bool {
    let mut blocks = [(core::ptr::null_mut::<u8>(), Layout::new::<u64>()); BLOCKS];
    let mut sound = true;
    for round in 0..black_box(700_usize) {
        let (block, layout) = &mut blocks[round * 7 % BLOCKS];
        // SAFETY: blocks are used with their layouts; sizes are not 0.
        unsafe {
            if !block.is_null() {
                sound &= block.read() == layout.size() as u8;
                if round % 3 == 0 {
                    let size = 1 + round * 13 % 900;
                    let moved = realloc(*block, *layout, size);
                    sound &= !moved.is_null() && moved.read() == layout.size() as u8;
                    *layout = Layout::from_size_align_unchecked(size, layout.align());
                    *block = moved;
                } else {
                    dealloc(*block, *layout);
                    *layout = Layout::from_size_align_unchecked(1 + round * 37 % 2000, 1 << (round % 7));
                    *block = alloc(*layout);
                }
            } else {
                *layout = Layout::from_size_align_unchecked(1 + round % 300, 8);
                *block = alloc(*layout);
            }
            sound &= block.addr() % layout.align() == 0;
            block.write(layout.size() as u8);
        }
    }
    sound
}
