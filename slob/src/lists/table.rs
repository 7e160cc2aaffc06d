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

use super::word::Word;
use crate::config::{FAN, UNITS};

/// The book of lists: what it knows of each page, and an index above that.
#[derive(Clone, Copy, Debug)]
pub struct Lists {
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

impl Lists {
    /// A table of no pages: only the words at both ends, which nobody writes.
    pub(crate) const NONE: Self =
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
    pub(crate) fn parts(&self) -> (*mut u8, usize) {
        (self.root.cast(), self.places)
    }

    /// Pages that have a word.
    pub(crate) fn pages(&self) -> usize {
        self.places.saturating_sub(2)
    }

    /// The word of `page`.
    #[inline]
    pub(crate) fn word(&self, page: usize) -> Word {
        // SAFETY: whoever asks for a page of the heap or a neighbour of one asks for a place of the table.
        unsafe { self.words.add(page).read() }
    }

    /// Writes it, without telling the index.
    #[inline]
    pub(crate) fn put(&self, page: usize, word: Word) {
        // SAFETY: as above.
        unsafe { self.words.add(page).write(word) }
    }

    /// Writes it.
    #[inline]
    pub(crate) fn set(&self, page: usize, word: Word) {
        let old = self.word(page);
        self.put(page, word);
        if old.bit() != word.bit() {
            self.update(page, old.bit(), word.bit());
        }
    }

    /// Tells the nodes above `page` that it has left the class `gone` for `come`.
    fn update(&self, page: usize, mut gone: u64, come: u64) {
        let (mut at, mut nodes, mut level) = (page, self.places, self.words.cast::<u64>());
        while nodes > 1 {
            if self.stays(level, at, nodes, gone) {
                gone = 0;
            }
            (at, nodes) = (at >> FAN, parents(nodes));
            level = level.wrapping_sub(nodes);
            // SAFETY: a node of the level above, which has one for each group and lies before it.
            unsafe {
                let node = level.add(at);
                let new = node.read() & !gone | come;
                if new == node.read() {
                    return;
                }
                node.write(new);
            }
        }
    }

    /// True if `class` occurs among the sixteen nodes around `at`; of a level of `nodes` nodes.
    fn stays(&self, level: *mut u64, at: usize, nodes: usize, class: u64) -> bool {
        let from = at & !(GROUP - 1);
        if nodes == self.places {
            // The words come in whole groups.
            return (from..from + GROUP).any(|page| self.word(page).bit() == class);
        }
        // SAFETY: nodes of the level.
        (from..(from + GROUP).min(nodes)).any(|node| unsafe { level.add(node).read() } & class != 0)
    }

    /// The classes of the sixteen nodes around `at`; of a level of `nodes` nodes.
    fn classes_of(&self, level: *mut u64, at: usize, nodes: usize) -> u64 {
        let from = at & !(GROUP - 1);
        if level == self.words.cast() {
            // The words come in whole groups.
            return (from..from + GROUP).fold(0, |set, page| set | self.word(page).bit());
        }
        // SAFETY: nodes of the level.
        (from..(from + GROUP).min(nodes)).fold(0, |set, node| set | unsafe { level.add(node).read() })
    }

    /// The first of sixteen pages, at or behind those from `page` on, among which is one of `class`.
    pub(crate) fn next(&self, page: usize, class: u64) -> Option<usize> {
        let (mut at, mut shift, mut nodes) = (page >> FAN, FAN, parents(self.places));
        let mut level = self.words.cast::<u64>().wrapping_sub(nodes);
        while at < nodes {
            // SAFETY: a node of the level.
            if unsafe { level.add(at).read() } & class == 0 {
                at += 1;
                if at % GROUP == 0 {
                    (at, shift, nodes) = (at >> FAN, shift + FAN, parents(nodes));
                    level = level.wrapping_sub(nodes);
                }
            } else if shift == FAN {
                return Some(at << FAN);
            } else {
                level = level.wrapping_add(nodes);
                (at, shift) = (at << FAN, shift - FAN);
                nodes = (self.places + (1 << shift) - 1) >> shift;
            }
        }
        None
    }

    /// Every class that occurs.
    #[inline]
    pub(crate) fn classes(&self) -> u64 {
        // SAFETY: there is a root, if only that of no pages.
        unsafe { self.root.read() }
    }

    /// True if the index above `page` is what its children are.
    pub(crate) fn is_indexed(&self, page: usize) -> bool {
        let (mut at, mut nodes, mut level) = (page, self.places, self.words.cast::<u64>());
        while nodes > 1 {
            let set = self.classes_of(level, at, nodes);
            (at, nodes) = (at >> FAN, parents(nodes));
            level = level.wrapping_sub(nodes);
            // SAFETY: as in `update`.
            if unsafe { level.add(at).read() } != set {
                return false;
            }
        }
        true
    }

    /// The same pages in a larger table.
    pub(crate) fn move_to(&self, new: Self) {
        for page in 0..self.places {
            new.set(page, self.word(page));
        }
    }
}
