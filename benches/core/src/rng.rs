//! A small, fast generator (xorshift64*): the same sequence for every contestant.

/// Pseudo-random numbers from a seed.
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator for worker `index`; neighbouring indices give unrelated sequences.
    pub(crate) fn new(index: usize) -> Self {
        Self((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next number.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which must fit 32 bits.
    #[inline]
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }

    /// A number in `low..=high`.
    #[inline]
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_range_and_reach_both_ends() {
        let mut rng = Rng::new(0);
        let drawn: Vec<_> = (0..1000).map(|_| rng.between(3, 6)).collect();
        assert_eq!(drawn.iter().min(), Some(&3));
        assert_eq!(drawn.iter().max(), Some(&6));
    }

    #[test]
    fn workers_differ() {
        assert_ne!(Rng::new(0).next(), Rng::new(1).next());
    }
}
