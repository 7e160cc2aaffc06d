//! The unit with the feature `fine`.

/// Bytes of a unit, in which the heap counts: two, as in SLOB. A free unit has room for one number of sixteen bits, which is what the sign
/// encoding needs (theory 2.2).
pub const UNIT: usize = 2;
