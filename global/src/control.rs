//! Asking and telling the allocator while it runs: knobs, statistics, giving memory back.

use crate::backend::Slubq;
use core::fmt;
use kmem_base::knobs::{Refusal, setting};
use kmem_base::pages::PagesStats;
use kmem_slubq::{Broken, Level, Retained};

/// Turns a knob: `set("decay_ms:250")`. The names are those of `KMEM_CONF`; see docs/tuning.md.
///
/// # Errors
/// If there is no such knob, it does not accept the value, or it can only be turned before the first allocation.
pub fn set(text: &str) -> Result<(), Refusal> {
    let (knob, value) = setting(text)?;
    Slubq::get().knobs().set(knob, value)?;
    Slubq::get().apply_knobs();
    Ok(())
}

/// Gives all memory back to the system that is not in use: drains every CPU's queues and every depot, releases empty slabs and free
/// pages. Returns bytes that went back. Costs some microseconds per cache.
#[doc(alias = "malloc_trim")]
pub fn trim() -> usize {
    Slubq::get().trim(Level::Queues)
}

/// Where memory is at some moment around now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// What the page supply holds.
    pub pages: PagesStats,
    /// What is kept without being in use, by layer.
    pub retained: Retained,
}

/// Reads the statistics. Walks every partial slab: milliseconds on a large heap.
#[must_use]
pub fn stats() -> Stats {
    Stats { pages: Slubq::get().page_stats(), retained: Slubq::get().retained() }
}

/// The table of caches that `/proc/slabinfo` would show, to be printed:
///
/// ```
/// println!("{}", kmem::slabinfo());
/// ```
#[must_use]
pub fn slabinfo() -> impl fmt::Display {
    /// The table.
    struct Table;
    impl fmt::Display for Table {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Slubq::get().write_slabinfo(f)
        }
    }
    Table
}

/// Walks every invariant of the heap. Exact when no other thread allocates.
///
/// # Errors
/// The first invariant found broken: a bug of kmem, or a program that wrote where it should not have.
pub fn check() -> Result<(), Broken> {
    Slubq::get().check()
}
