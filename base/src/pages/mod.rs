//! Page supply: arenas, descriptors, free runs, large and huge blocks, and pages going back to the system.

mod list;
mod page;

pub use list::PageList;
pub use page::{Kind, Page};

// What follows stands on statics and system calls, which loom cannot model.
#[cfg(not(loom))]
mod arena;
#[cfg(not(loom))]
mod decay;
#[cfg(not(loom))]
mod dirt;
#[cfg(not(loom))]
mod huge;
#[cfg(not(loom))]
mod large;
#[cfg(not(loom))]
mod runs;
#[cfg(not(loom))]
mod supply;

#[cfg(not(loom))]
pub use large::Grown;
#[cfg(not(loom))]
pub use supply::{Pages, PagesStats, Run, Thp};
