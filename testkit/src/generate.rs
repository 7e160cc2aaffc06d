//! Seeded operations, for stress runs and replay.

use crate::op::Op;
use crate::profile::Profile;
use crate::rng::SplitMix64;

/// Phases on one size stay below this, or memory fills up with large blocks.
const FOCUS_MAX: usize = 64 << 10;

/// `n` operations of a profile; equal arguments give equal operations.
pub fn ops(seed: u64, n: usize, profile: Profile) -> Vec<Op> {
    OpGen::new(seed, profile).take(n).collect()
}

/// An endless sequence of operations.
///
/// It works in phases that grow, shrink or churn, some of them on one size
/// only, so that slabs become full and empty again; evenly mixed operations
/// would settle at one filling.
#[derive(Clone, Debug)]
pub struct OpGen {
    rng: SplitMix64,
    profile: Profile,
    pass_percent: u8,
    phase: Phase,
}

#[derive(Clone, Debug, Default)]
struct Phase {
    left: usize,
    alloc_percent: u8,
    size: Option<usize>,
}

impl OpGen {
    /// Starts a sequence; equal arguments give equal sequences.
    pub fn new(seed: u64, profile: Profile) -> Self {
        let rng = SplitMix64::new(seed);
        Self { rng, profile, pass_percent: 0, phase: Phase::default() }
    }

    /// Makes that many of 100 operations hand over a block.
    pub fn with_passes(self, pass_percent: u8) -> Self {
        Self { pass_percent, ..self }
    }

    fn phase(&mut self) -> Phase {
        let rng = &mut self.rng;
        let focus = rng.percent(33).then(|| self.profile.size(rng));
        Phase {
            left: rng.between(32, 512),
            alloc_percent: [20, 50, 60, 90][rng.below(4)],
            size: focus.filter(|&size| size <= FOCUS_MAX),
        }
    }

    fn slot(&mut self) -> u16 {
        self.rng.next_u64() as u16
    }

    fn size(&mut self) -> usize {
        self.phase.size.unwrap_or_else(|| self.profile.size(&mut self.rng))
    }

    fn draw(&mut self) -> Op {
        let slot = self.slot();
        if self.rng.percent(self.pass_percent) {
            return Op::Pass { slot };
        }
        let batches = 10 + self.profile.batches();
        match self.rng.below(1000) {
            0 => Op::Check,
            1..3 => Op::Trim,
            3..10 => Op::Drain,
            at if at < batches => self.batch(slot),
            at if at < batches + self.profile.reallocs() => Op::Realloc { slot, size: self.profile.size(&mut self.rng) },
            _ => self.single(slot),
        }
    }

    fn batch(&mut self, slot: u16) -> Op {
        let count = self.rng.between(1, self.profile.batch_max()) as u16;
        if self.rng.percent(self.phase.alloc_percent) {
            Op::AllocBatch { slot, count, size: self.size() }
        } else {
            Op::FreeBatch { slot, count }
        }
    }

    fn single(&mut self, slot: u16) -> Op {
        if !self.rng.percent(self.phase.alloc_percent) {
            return Op::Free { slot };
        }
        let size = self.size();
        let align = self.profile.align(&mut self.rng);
        Op::Alloc { slot, size, align, zeroed: self.rng.percent(10) }
    }
}

impl Iterator for OpGen {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        if self.phase.left == 0 {
            self.phase = self.phase();
        }
        self.phase.left -= 1;
        Some(self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_ops() {
        assert_eq!(ops(7, 500, Profile::Mixed), ops(7, 500, Profile::Mixed));
        assert_ne!(ops(7, 500, Profile::Mixed), ops(8, 500, Profile::Mixed));
    }

    fn size_of_op(op: &Op) -> usize {
        match *op {
            Op::Alloc { size, .. } | Op::AllocBatch { size, .. } | Op::Realloc { size, .. } => size,
            _ => 0,
        }
    }

    #[test]
    fn profiles_keep_their_bounds() {
        let bounds = [(Profile::Small, 1 << 10), (Profile::Mixed, 4 << 20), (Profile::Large, 4 << 20), (Profile::Fixed, 64)];
        for (profile, bound) in bounds {
            let ops = ops(3, 20_000, profile);
            let largest = ops.iter().map(size_of_op).max().unwrap_or(0);
            assert!(largest <= bound && largest > bound / 2, "{profile:?}: {largest}");
        }
    }
}
