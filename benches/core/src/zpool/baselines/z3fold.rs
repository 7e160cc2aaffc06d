//! Like z3fold: up to three objects a page, in chunks of 64 bytes, one of which is the header. The middle one is moved within the page
//! as needed, so that what is free is in one piece.

use super::{Baseline, Numbers, PAGE};
use std::collections::BTreeSet;

const CHUNK: usize = 64;
const CHUNKS: usize = PAGE / CHUNK - 1;

#[derive(Default)]
pub(in super::super) struct Z3fold {
    numbers: Numbers,
    pages: Vec<[u8; 3]>,
    /// Free chunks and numbers of the pages that have room for one more object.
    room: BTreeSet<(usize, usize)>,
}

impl Z3fold {
    fn free_chunks(&self, page: usize) -> usize {
        CHUNKS - self.pages[page].iter().map(|chunks| usize::from(*chunks)).sum::<usize>()
    }

    /// Notes whether there is room, after a change.
    fn note(&mut self, page: usize, before: usize) {
        self.room.remove(&(before, page));
        let objects = self.pages[page].iter().filter(|chunks| **chunks != 0).count();
        match objects {
            0 => self.numbers.give(page),
            1 | 2 => drop(self.room.insert((self.free_chunks(page), page))),
            _ => {}
        }
    }
}

impl Baseline for Z3fold {
    fn name(&self) -> &'static str {
        "z3fold"
    }

    fn insert(&mut self, size: usize) -> u64 {
        let chunks = size.div_ceil(CHUNK).min(CHUNKS);
        let found = self.room.range((chunks, 0)..).next().map(|(_, page)| *page);
        let page = found.unwrap_or_else(|| {
            let page = self.numbers.take();
            self.pages.resize(self.pages.len().max(page + 1), [0; 3]);
            page
        });
        let before = self.free_chunks(page);
        let place = self.pages[page].iter().position(|chunks| *chunks == 0).unwrap_or(0);
        self.pages[page][place] = chunks as u8;
        self.note(page, before);
        (page * 3 + place) as u64
    }

    fn free(&mut self, id: u64) {
        let (page, place) = (id as usize / 3, id as usize % 3);
        let before = self.free_chunks(page);
        self.pages[page][place] = 0;
        self.note(page, before);
    }

    fn pages(&self) -> usize {
        self.numbers.live()
    }
}
