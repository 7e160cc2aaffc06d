//! Like xvmalloc: blocks of 32 bytes and more in steps of 8 with a header of 4, which never cross a page; free ones are merged with their
//! neighbours and found in lists by size, the smallest that suffices.

use super::{Baseline, Numbers, PAGE};
use std::collections::{BTreeMap, BTreeSet};

const HEADER: usize = 4;
const STEP: usize = 8;
const LEAST: usize = 32;

pub(in super::super) struct Xvmalloc {
    numbers: Numbers,
    /// Length of each block in use, by page and offset.
    used: BTreeMap<(usize, usize), usize>,
    /// Free blocks, by length, page and offset; and by page and offset.
    free: BTreeSet<(usize, usize, usize)>,
    free_at: BTreeMap<(usize, usize), usize>,
}

impl Xvmalloc {
    pub(in super::super) fn new() -> Self {
        Self { numbers: Numbers::default(), used: BTreeMap::new(), free: BTreeSet::new(), free_at: BTreeMap::new() }
    }

    fn add_free(&mut self, page: usize, at: usize, len: usize) {
        if len > 0 {
            self.free.insert((len, page, at));
            self.free_at.insert((page, at), len);
        }
    }

    fn remove_free(&mut self, page: usize, at: usize) -> usize {
        let len = self.free_at.remove(&(page, at)).unwrap_or(0);
        self.free.remove(&(len, page, at));
        len
    }
}

impl Baseline for Xvmalloc {
    fn name(&self) -> &'static str {
        "xvmalloc"
    }

    fn insert(&mut self, size: usize) -> u64 {
        // Larger ones were given a page without a header.
        let len = (size.next_multiple_of(STEP).max(LEAST) + HEADER).min(PAGE);
        let found = self.free.range((len, 0, 0)..).next().copied();
        let (free, page, at) = found.unwrap_or_else(|| (PAGE, self.numbers.take(), 0));
        self.remove_free(page, at);
        // What is too short for a block stays with this one.
        let taken = if free - len >= LEAST + HEADER { len } else { free };
        self.add_free(page, at + taken, free - taken);
        self.used.insert((page, at), taken);
        (page * PAGE + at) as u64
    }

    fn free(&mut self, id: u64) {
        let (page, mut at) = (id as usize / PAGE, id as usize % PAGE);
        let mut len = self.used.remove(&(page, at)).unwrap_or(0);
        len += self.remove_free(page, at + len);
        let before = self.free_at.range(..(page, at)).next_back().map(|(place, len)| (*place, *len));
        if let Some(((same, from), before)) = before.filter(|((other, from), before)| *other == page && from + before == at) {
            self.remove_free(same, from);
            (at, len) = (from, len + before);
        }
        if len == PAGE { self.numbers.give(page) } else { self.add_free(page, at, len) }
    }

    fn pages(&self) -> usize {
        self.numbers.live()
    }
}
