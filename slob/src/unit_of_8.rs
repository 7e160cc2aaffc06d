//! The unit by default.

/// Bytes of a unit, in which the heap counts: eight, what nearly every block is aligned to anyway. Every free unit has room for a hole's
/// size and the offset of the next one (theory 2.2).
pub const UNIT: usize = 8;
