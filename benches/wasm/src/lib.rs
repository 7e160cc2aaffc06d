//! A module that allocates: collections that grow, shrink and go, in linear memory that slob asks for.
#![no_std]

extern crate alloc;

#[cfg_attr(feature = "marks", path = "marks.rs")]
#[cfg_attr(not(feature = "marks"), path = "lists.rs")]
mod book;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use kmem_slob::{Alone, GrowSlob, Unchecked, wasm};

// SAFETY: a module has one thread; `memory.grow` gives memory of its own, upwards.
#[global_allocator]
static HEAP: GrowSlob<Alone, Unchecked, book::Book> = unsafe { GrowSlob::growing(Alone::new(), wasm::more) };

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Works for `rounds`; returns a checksum, or 0 if the heap is not what it should be.
#[unsafe(no_mangle)]
pub extern "C" fn run(rounds: u32) -> u32 {
    let mut words = BTreeMap::<String, Vec<u32>>::new();
    let mut sum = 0_u32;
    for round in 0..rounds {
        let mut word = String::new();
        _ = write!(word, "word {}", round.wrapping_mul(2_654_435_761) % 1000);
        words.entry(word).or_default().push(round);
        if round % 700 == 699 {
            words.retain(|_, numbers| numbers.len() % 3 != 0);
        }
        sum = sum.wrapping_mul(31).wrapping_add(words.len() as u32);
    }
    drop(words);
    let (check, stats) = HEAP.locked(|heap| (heap.check(), heap.stats()));
    if check.is_ok() && stats.used == 0 && stats.pages > 0 { sum.max(1) } else { 0 }
}

/// Bytes that the heap extends over.
#[unsafe(no_mangle)]
pub extern "C" fn extent() -> u32 {
    HEAP.locked(|heap| heap.stats().pages * kmem_slob::config::PAGE) as u32
}
