#![no_std]
#![allow(missing_docs)]
mod check;
pub mod config;
mod fixed;
mod ground;
mod heap;
mod holes;
mod mode;
mod table;
mod word;
pub use check::Broken;
pub use fixed::Fixed;
pub use ground::Ground;
pub use heap::Heap;
pub use mode::{Mode, Unchecked};
