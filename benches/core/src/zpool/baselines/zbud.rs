//! zbud: two objects a page, one from each end, in chunks of 64 bytes, the first of which is the page's header. The second goes to the page
//! where least is left over.

use super::{Baseline, Numbers, PAGE};

const CHUNK: usize = 64;
/// Chunks for objects.
const CHUNKS: usize = PAGE / CHUNK - 1;

#[derive(Default)]
pub(in super::super) struct Zbud {
    numbers: Numbers,
    /// Chunks of both objects of each page.
    pages: Vec<[u8; 2]>,
    /// Pages with one object, by the chunks that are free.
    unbuddied: Vec<Vec<usize>>,
}

/// One that is too large for a page with a header has a page without.
fn chunks(size: usize) -> u8 {
    size.div_ceil(CHUNK).min(CHUNKS) as u8
}

impl Zbud {
    fn list(&mut self, free: usize) -> &mut Vec<usize> {
        self.unbuddied.resize_with(CHUNKS + 1, Vec::new);
        &mut self.unbuddied[free]
    }
}

impl Baseline for Zbud {
    fn name(&self) -> &'static str {
        "zbud"
    }

    fn insert(&mut self, size: usize) -> u64 {
        let chunks = chunks(size);
        let found = (usize::from(chunks)..=CHUNKS).find_map(|free| self.list(free).pop());
        if let Some(page) = found {
            let side = usize::from(self.pages[page][0] != 0);
            self.pages[page][side] = chunks;
            return (page * 2 + side) as u64;
        }
        let page = self.numbers.take();
        self.pages.resize(self.pages.len().max(page + 1), [0; 2]);
        self.pages[page] = [chunks, 0];
        self.list(CHUNKS - usize::from(chunks)).push(page);
        (page * 2) as u64
    }

    fn free(&mut self, id: u64) {
        let (page, side) = (id as usize / 2, id as usize % 2);
        self.pages[page][side] = 0;
        let other = usize::from(self.pages[page][1 - side]);
        if other > 0 {
            self.list(CHUNKS - other).push(page);
            return;
        }
        self.numbers.give(page);
        // It was the only one, and so in a list.
        for list in &mut self.unbuddied {
            if let Some(at) = list.iter().position(|listed| *listed == page) {
                list.swap_remove(at);
                break;
            }
        }
    }

    fn pages(&self) -> usize {
        self.numbers.live()
    }
}
