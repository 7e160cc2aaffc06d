//! Page supply: arenas, descriptors, free runs, large and huge blocks, and pages going back to the system.

mod arena;
mod decay;
mod dirt;
mod huge;
mod kept;
mod large;
mod list;
#[cfg(all(test, loom))]
mod loom_models;
mod marks;
mod owner;
mod page;
mod runs;
mod supply;

pub use large::Grown;
pub use list::PageList;
pub use page::{Kind, Page};
pub use supply::{Pages, PagesStats, Run, Thp};
