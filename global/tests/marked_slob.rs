//! What `slob.rs` tests, of `Kmem<MarkedSlob>`.

use kmem::{CheckedMarkedSlob as Checked, MarkedSlob as Own};

include!("slob/body.rs");
