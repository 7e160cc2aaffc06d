//! The table: a word per page, and above the words an index of the size classes that occur.
//!
//! A node of the index is the set of classes of its sixteen children, as bits. So the lowest sixteen pages among which is one of a class
//! are found by looking at sixteen nodes per level, and there are few levels: five for 4 GiB.
//!
//! ```text
//! | root | ... | a node for 256 pages each | a node for 16 pages each | a word for each page |
//! ```
//!
//! Pages are numbered from 1; the words at both ends of the table are pages without holes, so that every page has neighbours.

use crate::config::{FAN, UNITS};
use crate::word::Word;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    root: *mut u64,
    words: *mut Word,
    /// Words, both ends included: a multiple of sixteen.
    places: usize,
}

static ENDS: [Word; 2] = [Word::partial(UNITS, 0, false); 2];
static NO_CLASSES: u64 = 0;

/// Alignment of a table, in bytes.
pub(crate) const ALIGN: usize = align_of::<u64>();

/// Pages under a node of the lowest level.
pub(crate) const GROUP: usize = 1 << FAN;

const fn parents(nodes: usize) -> usize {
    (nodes + GROUP - 1) >> FAN
}

/// Nodes of the index above `places` words.
const fn nodes(places: usize) -> usize {
    let (mut all, mut level) = (0, places);
    while level > 1 {
        level = parents(level);
        all += level;
    }
    all
}

impl Table {
    /// A table of no pages: only the words at both ends, which nobody writes.
    pub(crate) const EMPTY: Self =
        Self { root: (&raw const NO_CLASSES).cast_mut(), words: (&raw const ENDS).cast_mut().cast(), places: 0 };

    /// Places of a table for pages `1 ..= pages`.
    pub(crate) const fn places(pages: usize) -> usize {
        (pages + 2).next_multiple_of(GROUP)
    }

    /// Bytes of a table with that many places.
    pub(crate) const fn bytes(places: usize) -> usize {
        places * size_of::<Word>() + nodes(places) * size_of::<u64>()
    }

    /// A table at `at`.
    ///
    /// # Safety
    /// [`Self::bytes`] bytes there are zero, aligned to [`ALIGN`], and the table's.
    pub(crate) unsafe fn new(at: *mut u8, places: usize) -> Self {
        let root = at.cast::<u64>();
        Self { root, words: root.wrapping_add(nodes(places)).cast(), places }
    }

    /// Where it is, and how many places it has.
    pub(crate) fn parts(self) -> (*mut u8, usize) {
        (self.root.cast(), self.places)
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
    #[inline]
    pub(crate) fn set(self, page: usize, word: Word) {
        let old = self.word(page);
        self.put(page, word);
        if old.bit() != word.bit() {
            self.update(page, old.bit(), word.bit());
        }
    }

    /// Tells the nodes above `page` that it has left the class `gone` for `come`.
    fn update(self, page: usize, mut gone: u64, come: u64) {
        let (mut at, mut nodes, mut level) = (page, self.places, self.words.cast::<u64>());
        while nodes > 1 {
            if gone != 0 && self.has(level, at & !(GROUP - 1), nodes, gone) {
                gone = 0;
            }
            (at, nodes) = (at >> FAN, parents(nodes));
            level = level.wrapping_sub(nodes);
            // SAFETY: a node of the level above, which has one for each group and lies before it.
            unsafe {
                let old = level.add(at).read();
                let new = old & !gone | come;
                if new == old {
                    return;
                }
                level.add(at).write(new);
            }
        }
    }

    /// Whether a node of the group at `from` has a class; of a level of `nodes` nodes.
    fn has(self, level: *mut u64, from: usize, nodes: usize, class: u64) -> bool {
        (from..(from + GROUP).min(nodes)).any(|node| self.set_of(level, node) & class != 0)
    }

    /// The classes of node `at` of a level.
    #[inline]
    fn set_of(self, level: *mut u64, at: usize) -> u64 {
        if level == self.words.cast() {
            return self.word(at).bit();
        }
        // SAFETY: a node of the level.
        unsafe { level.add(at).read() }
    }

    /// The first of the lowest sixteen pages among which is one of `class`. Some page must be.
    pub(crate) fn group(self, class: u64) -> usize {
        let (mut level, mut at) = (self.root, 0);
        // Of a node's pages.
        let mut shift = ((self.places - 1).ilog2() / FAN + 1) * FAN;
        while shift > FAN {
            level = level.wrapping_add((self.places + (1 << shift) - 1) >> shift);
            shift -= FAN;
            at <<= FAN;
            // SAFETY: a node of the level, since it or one of its siblings further on has the class.
            while unsafe { level.add(at).read() } & class == 0 {
                at += 1;
            }
        }
        at << FAN
    }

    /// Every class that occurs.
    #[inline]
    pub(crate) fn classes(self) -> u64 {
        // SAFETY: there is a root, if only that of no pages.
        unsafe { self.root.read() }
    }

    /// True if the index above `page` is what its children are.
    pub(crate) fn is_indexed(self, page: usize) -> bool {
        let (mut at, mut nodes, mut level) = (page, self.places, self.words.cast::<u64>());
        while nodes > 1 {
            let group = at & !(GROUP - 1);
            let set = (group..(group + GROUP).min(nodes)).fold(0, |set, child| set | self.set_of(level, child));
            (at, nodes) = (at >> FAN, parents(nodes));
            level = level.wrapping_sub(nodes);
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
