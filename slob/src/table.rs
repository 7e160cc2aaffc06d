//! The table: a word per page, and above the words an index of the size classes that occur.
//!
//! A node of the index is the set of classes of its sixteen children, as bits. So the lowest page with a hole of a class is found by
//! looking at sixteen nodes per level, and there are few levels: five for 4 GiB.
//!
//! Pages are numbered from 1; the words at both ends of the table are pages without holes, so that every page has neighbours.

use crate::config::{FAN, UNITS};
use crate::word::Word;

/// See the module. The words come first, then the levels of the index from below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    words: *mut Word,
    /// Words, both ends included: a multiple of sixteen.
    places: usize,
}

static ENDS: [Word; 2] = [Word::partial(UNITS, 0, false); 2];

/// No page.
pub(crate) const NONE: usize = 0;

/// Alignment of a table, in bytes.
pub(crate) const ALIGN: usize = align_of::<u64>();

impl Table {
    /// A table of no pages: only the words at both ends, which nobody writes.
    pub(crate) const EMPTY: Self = Self { words: (&raw const ENDS).cast_mut().cast(), places: 0 };

    /// Places of a table for pages `1 ..= pages`.
    pub(crate) const fn places(pages: usize) -> usize {
        (pages + 2).next_multiple_of(1 << FAN)
    }

    /// Bytes of a table with that many places.
    pub(crate) const fn bytes(places: usize) -> usize {
        let (mut bytes, mut nodes) = (places * size_of::<Word>(), places);
        while nodes > 1 {
            nodes = Self::parents(nodes);
            bytes += nodes * size_of::<u64>();
        }
        bytes
    }

    const fn parents(nodes: usize) -> usize {
        (nodes + (1 << FAN) - 1) >> FAN
    }

    /// A table at `at`.
    ///
    /// # Safety
    /// [`Self::bytes`] bytes there are zero, aligned to [`ALIGN`], and the table's.
    pub(crate) unsafe fn new(at: *mut u8, places: usize) -> Self {
        Self { words: at.cast(), places }
    }

    /// Where it is, and how many places it has.
    pub(crate) fn parts(self) -> (*mut u8, usize) {
        (self.words.cast(), self.places)
    }

    /// Pages that have a word.
    pub(crate) fn pages(self) -> usize {
        self.places.saturating_sub(2)
    }

    /// The word of `page`.
    #[inline]
    pub(crate) fn word(self, page: usize) -> Word {
        // SAFETY: whoever asks for a page of the heap or a neighbour of one asks for a place of the table.
        unsafe { self.words.add(page).read() }
    }

    /// Writes it, without telling the index.
    #[inline]
    pub(crate) fn put(self, page: usize, word: Word) {
        // SAFETY: as above.
        unsafe { self.words.add(page).write(word) }
    }

    /// Writes it.
    pub(crate) fn set(self, page: usize, word: Word) {
        let old = self.word(page);
        self.put(page, word);
        if old.bit() != word.bit() {
            self.update(page);
        }
    }

    /// Tells the nodes above `page` of its class.
    fn update(self, page: usize) {
        let (mut at, mut nodes, mut level) = (page, self.places, None::<*mut u64>);
        while nodes > 1 {
            let group = at & !((1 << FAN) - 1);
            let mut set = 0;
            for child in group..(group + (1 << FAN)).min(nodes) {
                set |= self.set_of(level, child);
            }
            let above = self.above(level, nodes);
            at >>= FAN;
            nodes = Self::parents(nodes);
            level = Some(above);
            // SAFETY: a node of the level above, which has one for each group.
            unsafe {
                if above.add(at).read() == set {
                    return;
                }
                above.add(at).write(set);
            }
        }
    }

    /// The classes of node `at` of a level; the words are the level `None`.
    #[inline]
    fn set_of(self, level: Option<*mut u64>, at: usize) -> u64 {
        match level {
            None => self.word(at).bit(),
            // SAFETY: `at` is a node of the level.
            Some(level) => unsafe { level.add(at).read() },
        }
    }

    /// The level above one of `nodes` nodes.
    fn above(self, level: Option<*mut u64>, nodes: usize) -> *mut u64 {
        match level {
            None => self.words.wrapping_add(nodes).cast(),
            Some(level) => level.wrapping_add(nodes),
        }
    }

    /// The first page from `page` on whose class is one of `classes`, or [`NONE`]. At most sixteen nodes per level up, and as many down.
    pub(crate) fn next(self, page: usize, classes: u64) -> usize {
        let mut levels = [(None, self.places); 8];
        let (mut level, mut at) = (0, page);
        loop {
            let (nodes, len) = levels[level & 7];
            if at >= len {
                return NONE;
            }
            if self.set_of(nodes, at) & classes != 0 {
                if level == 0 {
                    return at;
                }
                level -= 1;
                at <<= FAN;
                continue;
            }
            at += 1;
            if at & ((1 << FAN) - 1) == 0 {
                if len <= 1 << FAN {
                    return NONE;
                }
                levels[(level + 1) & 7] = (Some(self.above(nodes, len)), Self::parents(len));
                level += 1;
                at >>= FAN;
            }
        }
    }

    /// Every class that occurs.
    pub(crate) fn classes(self) -> u64 {
        if self.places == 0 {
            return 0;
        }
        // SAFETY: the last of the table is the one node of its top level.
        unsafe { self.words.cast::<u8>().add(Self::bytes(self.places) - size_of::<u64>()).cast::<u64>().read() }
    }

    /// True if the index above `page` has its class, and nothing that its children have not.
    pub(crate) fn is_indexed(self, page: usize) -> bool {
        let (mut at, mut nodes, mut level) = (page, self.places, None::<*mut u64>);
        while nodes > 1 {
            let group = at & !((1 << FAN) - 1);
            let set = (group..(group + (1 << FAN)).min(nodes)).fold(0, |set, child| set | self.set_of(level, child));
            level = Some(self.above(level, nodes));
            (at, nodes) = (at >> FAN, Self::parents(nodes));
            if self.set_of(level, at) != set {
                return false;
            }
        }
        true
    }

    /// The same pages in a larger table.
    pub(crate) fn move_to(self, new: Self) {
        for page in 0..self.places {
            new.set(page, self.word(page));
        }
    }
}
