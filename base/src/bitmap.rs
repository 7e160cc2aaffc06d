//! A bitmap with a summary word per 64 words: which words have a bit set. Finding the next set bit skips 4096 empty places at a
//! time.
//!
//! The answer of Banga and Mogul to the search for a free file descriptor, used here for free pages: neighbouring runs merge by
//! themselves, because a run is nothing but adjacent bits.

use crate::sync::{AtomicU64, Ordering};

/// A two-level bitmap over words that somebody else owns. Changes need outside locking; the words are atomic only so that a reader
/// without the lock sees no torn word.
///
/// Words of either kind lie `STEP` words apart, so that bitmaps over the same places can be interleaved.
#[derive(Debug, Clone, Copy)]
pub struct Bitmap2<const STEP: usize> {
    words: *const AtomicU64,
    summary: *const AtomicU64,
}

/// Bits `from .. to` of one word; `from < to <= 64`.
#[must_use]
pub const fn mask(from: usize, to: usize) -> u64 {
    (u64::MAX >> (64 - (to - from))) << from
}

/// Calls `f(word, mask)` for each word that `from .. to` touches.
pub fn each_word(from: usize, to: usize, mut f: impl FnMut(usize, u64)) {
    let mut at = from;
    while at < to {
        let end = ((at | 63) + 1).min(to);
        f(at / 64, mask(at % 64, (end - 1) % 64 + 1));
        at = end;
    }
}

/// First place in `from .. to` whose bit is set in `word(index)`.
pub fn next_in(from: usize, to: usize, word: impl Fn(usize) -> u64) -> Option<usize> {
    let mut at = from;
    while at < to {
        let bits = word(at / 64) & (u64::MAX << (at % 64));
        if bits != 0 {
            let found = at / 64 * 64 + bits.trailing_zeros() as usize;
            return (found < to).then_some(found);
        }
        at = (at | 63) + 1;
    }
    None
}

impl<const STEP: usize> Bitmap2<STEP> {
    /// A bitmap of no places.
    pub const EMPTY: Self = Self { words: core::ptr::null(), summary: core::ptr::null() };

    /// A bitmap over `words` and `summary`.
    ///
    /// # Safety
    /// Every place that is ever used lies within both, they are zero, live as long as the bitmap, and are written through it alone.
    #[must_use]
    pub const unsafe fn new(words: *const AtomicU64, summary: *const AtomicU64) -> Self {
        Self { words, summary }
    }

    /// Word number `index`.
    #[inline]
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        // SAFETY: in range by the contract of `new`.
        unsafe { (*self.words.add(index * STEP)).load(Ordering::Relaxed) }
    }

    fn update(&self, index: usize, value: u64) {
        // SAFETY: in range by the contract of `new`.
        unsafe {
            (*self.words.add(index * STEP)).store(value, Ordering::Relaxed);
            let summary = &*self.summary.add(index / 64 * STEP);
            let bit = 1 << (index % 64);
            let old = summary.load(Ordering::Relaxed);
            summary.store(if value == 0 { old & !bit } else { old | bit }, Ordering::Relaxed);
        }
    }

    /// Sets `from .. to`.
    pub fn set(&self, from: usize, to: usize) {
        each_word(from, to, |index, mask| self.update(index, self.word(index) | mask));
    }

    /// Clears `from .. to`.
    pub fn clear(&self, from: usize, to: usize) {
        each_word(from, to, |index, mask| self.update(index, self.word(index) & !mask));
    }

    /// First set place in `from .. to`.
    #[must_use]
    pub fn next_set(&self, from: usize, to: usize) -> Option<usize> {
        if from >= to {
            return None;
        }
        let bits = self.word(from / 64) & (u64::MAX << (from % 64));
        if bits != 0 {
            let found = from / 64 * 64 + bits.trailing_zeros() as usize;
            return (found < to).then_some(found);
        }
        // SAFETY: in range by the contract of `new`.
        let summary = |index| unsafe { (*self.summary.add(index * STEP)).load(Ordering::Relaxed) };
        let word = next_in(from / 64 + 1, to.div_ceil(64), summary)?;
        let found = word * 64 + self.word(word).trailing_zeros() as usize;
        (found < to).then_some(found)
    }

    /// First clear place in `from .. to`, or `to`.
    #[must_use]
    pub fn next_clear(&self, from: usize, to: usize) -> usize {
        next_in(from, to, |index| !self.word(index)).unwrap_or(to)
    }

    /// Start of the run of set places that ends before `at`; `at` if the place before it is clear.
    #[must_use]
    pub fn run_start(&self, at: usize) -> usize {
        let mut start = at;
        while start > 0 {
            let (index, upto) = ((start - 1) / 64, (start - 1) % 64 + 1);
            let clear = !self.word(index) & mask(0, upto);
            if clear != 0 {
                return index * 64 + 64 - clear.leading_zeros() as usize;
            }
            start = index * 64;
        }
        0
    }

    /// Set places in `from .. to`.
    #[must_use]
    pub fn count(&self, from: usize, to: usize) -> usize {
        let mut count = 0;
        each_word(from, to, |index, mask| count += (self.word(index) & mask).count_ones() as usize);
        count
    }

    /// True if the summary agrees with every word of `0 .. to`.
    #[must_use]
    pub fn check(&self, to: usize) -> bool {
        (0..to.div_ceil(64)).all(|index| {
            // SAFETY: in range by the contract of `new`.
            let summary = unsafe { (*self.summary.add(index / 64 * STEP)).load(Ordering::Relaxed) };
            (summary >> (index % 64)) & 1 == u64::from(self.word(index) != 0)
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    const PLACES: usize = 64 * 70;

    fn memory(step: usize) -> (Vec<AtomicU64>, Vec<AtomicU64>) {
        let zeros = |n: usize| (0..n * step).map(|_| AtomicU64::new(0)).collect();
        (zeros(PLACES / 64), zeros(2))
    }

    #[test]
    fn agrees_with_a_plain_array() {
        agrees::<1>();
        agrees::<4>();
    }

    fn agrees<const STEP: usize>() {
        let (words, summary) = memory(STEP);
        // SAFETY: both vectors outlive the bitmap and cover every place used.
        let map = unsafe { Bitmap2::<STEP>::new(words.as_ptr(), summary.as_ptr()) };
        let mut plain = [false; PLACES];
        let mut seed = 1_u64;
        for _ in 0..3000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let from = (seed >> 33) as usize % PLACES;
            let to = (from + 1 + (seed >> 50) as usize % 300).min(PLACES);
            let value = seed & (1 << 20) != 0;
            if value {
                map.set(from, to)
            } else {
                map.clear(from, to)
            }
            plain[from..to].fill(value);
            assert!(map.check(PLACES));
            let at = (seed >> 40) as usize % PLACES;
            for upto in [PLACES, at, (at + (seed >> 44) as usize % 200).min(PLACES)] {
                assert_eq!(map.next_set(at, upto), (at..upto).find(|&i| plain[i]));
                assert_eq!(map.next_clear(at, upto), (at..upto).find(|&i| !plain[i]).unwrap_or(upto));
            }
            let start = (0..at).rev().find(|&i| !plain[i]).map_or(0, |i| i + 1);
            assert_eq!(map.run_start(at), start);
            assert_eq!(map.count(from, PLACES), plain[from..].iter().filter(|&&set| set).count());
        }
        let between =
            |table: &[AtomicU64]| (0..table.len()).filter(|at| at % STEP > 0).all(|at| table[at].load(Ordering::Relaxed) == 0);
        assert!(between(&words) && between(&summary), "what lies between is others'");
    }

    #[test]
    fn no_word_beyond_the_range_is_read() {
        for (from, to) in [(0_usize, 0_usize), (0, 1), (0, 64), (5, 64), (63, 64), (64, 128), (100, 300), (128, 128), (130, 100)] {
            let last = to.div_ceil(64);
            let read = |index: usize| {
                assert!((from / 64..last).contains(&index), "word {index} for {from}..{to}");
                0
            };
            assert_eq!(next_in(from, to, read), None);
        }
    }

    #[test]
    fn the_words_of_a_range_are_its_places_once_each() {
        for (from, to) in [(0, 0), (0, 1), (0, 64), (63, 65), (64, 128), (5, 200), (127, 129), (7, 7)] {
            let mut places = Vec::new();
            each_word(from, to, |word, mask| places.extend((0..64).filter(|bit| mask >> bit & 1 == 1).map(|bit| word * 64 + bit)));
            assert_eq!(places, (from..to).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_summary_that_disagrees_is_noticed() {
        let (words, summary) = memory(1);
        // SAFETY: as above.
        let map = unsafe { Bitmap2::<1>::new(words.as_ptr(), summary.as_ptr()) };
        for place in [0, 63, 64, 64 * 64 - 1, 64 * 64, PLACES - 1] {
            words[place / 64].store(1 << (place % 64), Ordering::Relaxed);
            assert!(!map.check(PLACES) && map.check(place / 64 * 64), "a set bit that no summary shows");
            map.clear(place, place + 1);
            summary[place / 4096].store(1 << (place / 64 % 64), Ordering::Relaxed);
            assert!(!map.check(PLACES), "a summary of nothing");
            map.clear(place, place + 1);
            assert!(map.check(PLACES));
        }
    }
}
