#![no_std]
#![doc = include_str!("../../README.md")]

#[cfg(feature = "allocator-api2")]
mod api2;
mod backend;
mod cache;
mod control;
mod fork;
mod kmem;
mod slab;
#[path = "slob.rs"]
mod slob_backend;

pub use backend::{Backend, Slubq};
pub use cache::{Cache, Object};
pub use control::{Stats, check, set, slabinfo, stats, trim};
pub use kmem::Kmem;
pub use kmem_base::knobs::{Knob, Refusal, Settings};
#[cfg(feature = "count")]
pub use kmem_base::sync::count;
pub use kmem_base::typed::{AllocError, Constructed, Plain};
/// First fit for small systems: heaps in a buffer, over a callback, over pages.
pub use kmem_slob as slob;
/// The allocator underneath, for what the safe face leaves out: bulk operations, reservations, tunables, instances of one's own.
pub use kmem_slubq as slubq;
pub use kmem_slubq::{CreateError, Flags, Level};
pub use slab::Slab;
pub use slob_backend::{CheckedMarkedSlob, CheckedSlob, Dies, MarkedSlob, Slob};
