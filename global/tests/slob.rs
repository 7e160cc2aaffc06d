//! `Kmem<Slob>` as a process's allocator: under the oracle, with threads, across `fork`, and with little address space; and what the
//! checked one says before it ends the program.

use kmem::{CheckedSlob as Checked, Slob as Own};

include!("slob/body.rs");
