//! Constants, each with its unit and its reason.

pub use crate::unit::UNIT;

/// Bytes of a page: what has a word in the table, a list of its own, and goes back to the system whole.
pub const PAGE: usize = 4096;

/// Units of a page.
pub(crate) const UNITS: usize = PAGE / UNIT;

/// Numbers of sixteen bits in a unit.
pub(crate) const STRIDE: usize = UNIT / 2;

/// Pages that an allocation looks into before it takes one whose size class promises room. Small, because each look may be a cache miss,
/// and what it finds is at most a step of the classes (a quarter) tighter.
pub const PROBES: usize = 64;

/// Holes of a bin that an allocation from [`Marks`](crate::Marks) looks at while larger ones are left.
pub(crate) const LOOKS: usize = 16;

/// log2 of the children of a node of the table's index.
pub(crate) const FAN: u32 = 4;

/// Size classes per doubling, as a logarithm: four.
pub(crate) const STEPS: u32 = 2;

/// Size classes; the bits of an index word. 0 is that of a page where nothing starts.
pub(crate) const CLASSES: u32 = 64;

/// Address space that a heap over pages reserves: 16 GiB, or a quarter of what a pointer can tell apart. Halved when it is refused.
pub const RESERVE: usize = if usize::BITS > 34 { 1 << (usize::BITS / 2 + 2) } else { 1 << (usize::BITS - 2) };

/// The least that is worth having: 1 MiB.
pub const RESERVE_LEAST: usize = 1 << 20;

/// Bytes by which a heap over pages grows: 64 KiB, a multiple of every size of OS pages in use.
pub const STEP: usize = 64 << 10;

/// A heap over pages keeps at most one part in this many of its pages, once they are free, for a moment: less than 1 %.
pub(crate) const KEPT_PART: usize = 128;
/// And at most this many pages: 256 KiB.
pub(crate) const KEPT_MOST: usize = 64;

const _: () = assert!(UNITS <= 2048 && UNIT.is_multiple_of(2));
