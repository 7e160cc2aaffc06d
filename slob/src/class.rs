//! Size classes of holes.

use crate::config::{CLASSES, STEPS};

/// The class of a hole of `units`: four per doubling, so that what lies in the class above has room for it.
#[inline]
pub(crate) const fn class(units: usize) -> u32 {
    // Not `ilog2`, which brings a panic along.
    let shift = usize::BITS - 1 - (units | 1 << STEPS).leading_zeros() - STEPS;
    let class = (shift << STEPS) + (units >> shift) as u32;
    if class < CLASSES { class } else { CLASSES - 1 }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn classes_ascend_by_quarters() {
        assert_eq!((0..10).map(class).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]);
        for units in 1..100_000 {
            let (own, next) = (class(units), class(units + 1));
            assert!(next == own || next == own + 1 && (units < 8 || (units + 1).trailing_zeros() >= (units + 1).ilog2() - STEPS));
        }
        assert_eq!((class(7 << 14), class(usize::MAX)), (CLASSES - 1, CLASSES - 1));
    }
}
