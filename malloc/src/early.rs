//! Blocks for calls that come before this library is relocated: from an ifunc resolver of a library that the dynamic linker happens to
//! relocate first. Rare, small and few; they are never reused.

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use kmem_base::sync::{AtomicUsize, Ordering};

const BYTES: usize = 16 << 10;
/// In front of each block: its size.
const HEAD: usize = 16;

#[repr(C, align(16))]
struct Arena(UnsafeCell<[u8; BYTES]>);
// SAFETY: each byte is handed out once.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; BYTES]));
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A zeroed block of `size` bytes aligned to `align`; null if there is no room.
pub(crate) fn alloc(size: usize, align: usize) -> *mut u8 {
    let start = ARENA.0.get().cast::<u8>();
    let mut used = NEXT.load(Ordering::Relaxed);
    loop {
        let align = align.max(HEAD);
        let block = (start.addr() + used + HEAD).next_multiple_of(align) - start.addr();
        let Some(end) = block.checked_add(size).filter(|end| *end <= BYTES) else {
            return null_mut();
        };
        match NEXT.compare_exchange(used, end, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                // SAFETY: inside the arena, and these bytes are this caller's alone.
                unsafe {
                    let block = start.add(block);
                    block.sub(HEAD).cast::<usize>().write(size);
                    return block;
                }
            }
            Err(now) => used = now,
        }
    }
}

/// Bytes of the block at `block`, if it is one of these.
pub(crate) fn size_of(block: *const u8) -> Option<usize> {
    let offset = block.addr().wrapping_sub(ARENA.0.get().addr());
    // SAFETY: in front of a block stands its size; an address inside a block is the caller's mistake and reads what is there.
    ((HEAD..BYTES).contains(&offset) && offset.is_multiple_of(HEAD)).then(|| unsafe { block.sub(HEAD).cast::<usize>().read() })
}
