//! Which units of the file are in use: a bit each, and runs of them found from where the last one ended.

use std::vec::Vec;

const BITS: usize = u64::BITS as usize;

#[derive(Debug)]
pub(super) struct Units {
    words: Vec<u64>,
    count: usize,
    next: usize,
    used: usize,
}

impl Units {
    /// `count` units, of which the first is the header's. Nothing if there is no memory for them.
    pub(super) fn new(count: usize) -> Option<Self> {
        let mut words = Vec::new();
        words.try_reserve_exact(count.div_ceil(BITS)).ok()?;
        words.resize(count.div_ceil(BITS), 0);
        let mut units = Self { words, count, next: 1, used: 0 };
        units.set(0, 1);
        Some(units)
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    fn is_used(&self, unit: usize) -> bool {
        self.words[unit / BITS] >> (unit % BITS) & 1 != 0
    }

    fn set(&mut self, unit: usize, count: usize) {
        (unit..unit + count).for_each(|unit| self.words[unit / BITS] |= 1 << (unit % BITS));
        self.used += count;
    }

    /// Takes `count` units in a row.
    pub(super) fn take(&mut self, count: usize) -> Option<u32> {
        let at = self.search(self.next, self.count, count).or_else(|| self.search(1, self.count.min(self.next + count), count))?;
        self.set(at, count);
        self.next = at + count;
        u32::try_from(at).ok()
    }

    fn search(&self, from: usize, to: usize, count: usize) -> Option<usize> {
        let (mut at, mut run) = (from, 0);
        while at < to {
            if run == 0 && at.is_multiple_of(BITS) && self.words[at / BITS] == u64::MAX {
                at += BITS;
                continue;
            }
            run = if self.is_used(at) { 0 } else { run + 1 };
            at += 1;
            if run == count {
                return Some(at - count);
            }
        }
        None
    }

    /// Takes just these units, if they are there and free.
    pub(super) fn claim(&mut self, unit: u32, count: usize) -> bool {
        let unit = unit as usize;
        if unit + count > self.count || (unit..unit + count).any(|unit| self.is_used(unit)) {
            return false;
        }
        self.set(unit, count);
        true
    }

    /// Gives them back.
    pub(super) fn give(&mut self, unit: u32, count: usize) {
        (unit as usize..unit as usize + count).for_each(|unit| self.words[unit / BITS] &= !(1 << (unit % BITS)));
        self.used -= count;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn runs_never_overlap_and_every_unit_can_be_had() {
        let mut units = Units::new(1000).unwrap();
        let (mut held, mut state) = (std::vec::Vec::new(), 1_u64);
        let mut owner = std::vec![false; 1000];
        owner[0] = true;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let count = (state >> 33) as usize % 9 + 1;
            if let Some(at) = units.take(count) {
                let run = at as usize..at as usize + count;
                assert!(owner[run.clone()].iter().all(|taken| !taken));
                owner[run].fill(true);
                held.push((at, count));
            } else {
                let free = owner.split(|taken| *taken).map(<[bool]>::len).max();
                assert!(free < Some(count), "{count} of {free:?}");
            }
            if (state >> 40) % 3 == 0 && !held.is_empty() || held.len() > 150 {
                let (at, count) = held.swap_remove((state >> 20) as usize % held.len());
                owner[at as usize..at as usize + count].fill(false);
                units.give(at, count);
            }
            assert_eq!(units.used(), owner.iter().filter(|taken| **taken).count());
        }
    }
}
