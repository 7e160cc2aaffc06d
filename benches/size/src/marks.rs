//! kmem-slob with the book of marks, for one thread.

use crate::{Memory, SIZE};
use kmem_slob::{Alone, FixedSlob, Marks, Unchecked};

static mut MEMORY: Memory = Memory([0; SIZE]);
// SAFETY: one thread, and the only use of the memory.
#[global_allocator]
static HEAP: FixedSlob<Alone, Unchecked, Marks> = unsafe { FixedSlob::new(Alone::new(), &mut *(&raw mut MEMORY.0)) };
