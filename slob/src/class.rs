//! Size classes of holes.

use crate::config::{CLASSES, STEPS};

/// The class of a hole of `units`: four per doubling, so that what lies in the class above has room for it.
#[inline]
pub(crate) const fn class(units: usize) -> u32 {
    if units < 1 << STEPS {
        return units as u32;
    }
    // Not `ilog2`, which brings a panic along.
    let log = usize::BITS - 1 - units.leading_zeros();
    let class = ((log - STEPS + 1) << STEPS) + (units >> (log - STEPS)) as u32 - (1 << STEPS);
    if class < CLASSES { class } else { CLASSES - 1 }
}
