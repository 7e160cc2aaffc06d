//! Constants, each with its unit and its reason.

/// Bytes of a unit, in which the heap counts: two, as in SLOB. A free unit has room for one number of sixteen bits, which is what the
/// sign encoding of [`crate::holes`] needs.
pub const UNIT: usize = 2;

/// Bytes of a page: what has a word in the table, a list of its own, and goes back to the system whole.
pub const PAGE: usize = 4096;

/// Units of a page.
pub(crate) const UNITS: usize = PAGE / UNIT;

/// Numbers of sixteen bits in a unit.
pub(crate) const STRIDE: usize = UNIT / 2;

/// Pages that an allocation looks into before it takes one whose size class promises room. Small, because each look may be a cache miss,
/// and what it finds is at most a step of the classes (a quarter) tighter.
pub const PROBES: u32 = 64;

/// log2 of the children of a node of the table's index.
pub(crate) const FAN: u32 = 4;

/// Size classes per doubling, as a logarithm: four.
pub(crate) const STEPS: u32 = 2;

/// Size classes; the bits of an index word. 0 is that of a page where nothing starts.
pub(crate) const CLASSES: u32 = 64;

const _: () = assert!(UNITS <= 2048 && UNIT.is_multiple_of(2));
