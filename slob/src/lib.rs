#![no_std]
#![doc = include_str!("../README.md")]

mod book;
mod check;
mod class;
pub mod config;
mod fixed;
mod ground;
mod grow;
mod header;
mod heap;
mod lists;
mod marks;
mod mode;
mod paged;
mod shared;
mod stats;
#[cfg_attr(feature = "fine", path = "unit_of_2.rs")]
#[cfg_attr(not(feature = "fine"), path = "unit_of_8.rs")]
mod unit;
#[cfg(target_arch = "wasm32")]
pub mod wasm;

pub use book::{Book, Lists};
pub use check::Broken;
pub use fixed::Fixed;
pub use ground::Ground;
pub use grow::{Grow, More};
pub use header::HEADER;
pub use heap::Heap;
pub use kmem_base::fault::Fault;
pub use marks::Marks;
pub use mode::{Mode, Unchecked};
pub use paged::Paged;
pub use shared::{Alone, RawLock, Shared};
pub use stats::Stats;

/// A heap over the pages of a system, which it returns: `Slob::over(&OsSource)`. For one thread at a time.
pub type Slob<S, M = Unchecked, B = Lists> = Heap<Paged<S>, M, B>;
/// A heap in a buffer, behind a lock: for `#[global_allocator]` without a system.
pub type FixedSlob<L, M = Unchecked, B = Lists> = Shared<L, Fixed, M, B>;
/// A heap that grows by a callback, behind a lock.
pub type GrowSlob<L, M = Unchecked, B = Lists> = Shared<L, Grow, M, B>;
