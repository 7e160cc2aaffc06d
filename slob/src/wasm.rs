//! Linear memory.

use core::arch::wasm32::{memory_grow, memory_size};
use core::ptr::NonNull;

/// Bytes of a page of linear memory.
const PAGE: usize = 64 << 10;

/// More linear memory, for [`Grow`](crate::Grow): in one module, nobody else may give away what `memory.grow` answers.
#[must_use]
pub fn more(bytes: usize) -> Option<(NonNull<u8>, usize)> {
    let pages = bytes.div_ceil(PAGE);
    let start = memory_size(0) * PAGE;
    if memory_grow(0, pages) == usize::MAX {
        return None;
    }
    NonNull::new(core::ptr::with_exposed_provenance_mut(start)).map(|at| (at, pages * PAGE))
}
