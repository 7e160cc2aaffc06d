//! What tells the handles of one pool from another's.

use kmem_base::sync::{AtomicU32, Ordering};

/// A number that the next 32767 pools do not have.
pub(super) fn next() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Relaxed: only the number counts.
    (NEXT.fetch_add(1, Ordering::Relaxed) & 0x7FFF) as u16
}
