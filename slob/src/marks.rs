//! The second book: bits out of line that mark where holes end, and bins of holes by size (theory 2.5).
//!
//! ```text
//! table:  | head of the last bin | ... | of bin 1 | of bin 0 | a bit per unit |
//! hole:   | size | next hole | slot that leads here | ... | size |              numbers of 32 bits; may be one unit
//! ```
//!
//! A *slot* is where the number of a hole stands: a bin's head, or `next` of another hole. Slots are numbered from the heap's base. What a
//! hole says is not trusted further than that it stays within the heap.

mod check;

use crate::book::{Book, Stretch};
use crate::check::Broken;
use crate::class::class;
use crate::config::{CLASSES, LOOKS, PAGE, PROBES};
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use crate::stats::Stats;
use kmem_base::fault::Fault;

/// The book of marks.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// Where the bits of unit 0 would be; in front of the table's first ones are the heads.
    bits: *mut u32,
    places: usize,
    /// Bins that have holes.
    bins: u64,
}

/// Bytes of a unit: what a hole needs.
const UNIT: usize = 16;
/// Numbers in a unit.
const SLOTS: usize = UNIT / SLOT;
const SLOT: usize = size_of::<u32>();
/// The first unit.
const FIRST: usize = PAGE / UNIT;
/// Bits of a word.
const WORD: usize = u32::BITS as usize;
/// The first word that there is: it has the bit of the unit before the first.
const LOWEST: usize = (FIRST - 1) / WORD;

static NONE: [u32; 2] = [0; 2];

/// What a hole's first unit says.
#[derive(Clone, Copy)]
struct Hole {
    size: usize,
    next: usize,
    slot: usize,
}

/// Bins.
const HEADS: usize = CLASSES as usize;

impl Marks {
    /// Words of the bits, that of the unit behind the last one included.
    const fn words(places: usize) -> usize {
        (places + 1) * FIRST / WORD + 1 - LOWEST
    }

    /// The head of `bin`.
    #[inline]
    fn head(&self, bin: u32) -> *mut u32 {
        self.bits.wrapping_add(LOWEST - 1).wrapping_sub(bin as usize)
    }

    /// Whether a hole begins or ends with `unit`. In a checked heap, whether it is free.
    #[inline]
    fn is_marked(&self, unit: usize) -> bool {
        // SAFETY: whoever asks for a unit of the heap or a neighbour of one asks for a bit of the table.
        unsafe { self.bits.wrapping_add(unit / WORD).read() >> (unit % WORD) & 1 != 0 }
    }

    /// Whether a word begins with `unit`, and nothing in it is marked.
    fn is_clear(&self, unit: usize) -> bool {
        // SAFETY: as above.
        unit.is_multiple_of(WORD) && unsafe { self.bits.wrapping_add(unit / WORD).read() == 0 }
    }

    /// Marks `unit`, or does not any more, if `bit` is 1.
    #[inline]
    fn flip(&self, unit: usize, bit: u32) {
        let word = self.bits.wrapping_add(unit / WORD);
        // SAFETY: as above.
        unsafe { word.write(word.read() ^ bit << (unit % WORD)) }
    }

    /// Marks all of `from .. to`, or none any more: a checked heap's way.
    fn flip_all(&self, from: usize, to: usize) {
        let mut unit = from;
        while unit < to {
            if unit.is_multiple_of(WORD) && to - unit >= WORD {
                let word = self.bits.wrapping_add(unit / WORD);
                // SAFETY: as above.
                unsafe { word.write(!word.read()) }
                unit += WORD;
            } else {
                self.flip(unit, 1);
                unit += 1;
            }
        }
    }
}

impl<G: Ground, M: Mode> Heap<G, M, Marks> {
    #[inline]
    fn slot(&self, slot: usize) -> *mut u32 {
        self.base.cast::<u32>().wrapping_add(slot)
    }

    /// Number of the slot at `at`.
    #[inline]
    fn number(&self, at: *mut u32) -> usize {
        at.addr().wrapping_sub(self.base.addr()) / SLOT
    }

    /// Whether `unit` is one of the heap's.
    #[inline]
    fn has(&self, unit: usize) -> bool {
        unit.wrapping_sub(FIRST) < self.end - FIRST
    }

    #[inline]
    fn get(&self, slot: *mut u32) -> usize {
        // SAFETY: whoever asks has seen to it that the slot is in a unit of the heap.
        unsafe { slot.read() as usize }
    }

    #[inline]
    fn put(&self, slot: *mut u32, value: usize) {
        // SAFETY: as above, and of a hole or a head.
        unsafe { slot.write(value as u32) }
    }

    /// What the hole at `at` says, a unit of the heap.
    #[inline]
    fn hole(&self, at: usize) -> Hole {
        let slot = self.slot(at * SLOTS);
        Hole { size: self.get(slot), next: self.get(slot.wrapping_add(1)), slot: self.get(slot.wrapping_add(2)) }
    }

    /// Makes `size` units at `at` a hole, unless they are none.
    fn link(&mut self, at: usize, size: usize) {
        if size == 0 {
            return;
        }
        let bin = class(size);
        self.book.bins |= 1 << bin;
        let (head, hole) = (self.book.head(bin), self.slot(at * SLOTS));
        let next = self.get(head);
        self.put(head, at);
        self.put(hole, size);
        self.put(hole.wrapping_add(1), next);
        self.put(hole.wrapping_add(2), self.number(head));
        self.put(hole.wrapping_add(size * SLOTS - 1), size);
        if self.has(next) {
            self.put(self.slot(next * SLOTS + 2), at * SLOTS + 1);
        }
        self.flip_ends(at, size);
    }

    /// Makes the hole of `size` units at `at` none.
    fn unlink(&mut self, at: usize, size: usize) {
        let hole = self.hole(at);
        if self.has(hole.slot / SLOTS) {
            self.put(self.slot(hole.slot), hole.next);
        }
        let bin = class(size);
        if self.has(hole.next) {
            self.put(self.slot(hole.next * SLOTS + 2), hole.slot);
        } else if self.get(self.book.head(bin)) == 0 {
            self.book.bins &= !(1 << bin);
        }
        self.flip_ends(at, size);
    }

    /// Units of the hole that has its end at `unit` and its size in `slot`: at most `most`, and none if there is no hole.
    fn beside(&self, unit: usize, slot: usize, most: usize) -> usize {
        if !self.book.is_marked(unit) {
            return 0;
        }
        let size = self.get(self.slot(slot));
        if size <= most { size } else { 0 }
    }

    /// Marks both ends of a hole, or does not any more.
    #[inline]
    fn flip_ends(&self, at: usize, size: usize) {
        if !M::CHECKED {
            self.book.flip(at, 1);
            self.book.flip(at + size - 1, u32::from(size > 1));
        }
    }
}

impl Book for Marks {
    const UNIT: usize = UNIT;
    /// Slots are numbered with 32 bits: 16 GiB.
    const MOST: usize = (1 << 22) - 2;
    const ALIGN: usize = align_of::<u32>();
    const EMPTY: Self = Self { bits: (&raw const NONE).cast_mut().cast::<u32>().wrapping_sub(LOWEST), places: 0, bins: 0 };

    fn pages(&self) -> usize {
        self.places
    }

    fn parts(&self) -> (*mut u8, usize) {
        (self.bits.wrapping_add(LOWEST).wrapping_sub(HEADS).cast(), self.places)
    }

    fn places(pages: usize) -> usize {
        pages
    }

    fn bytes(places: usize) -> usize {
        (HEADS + Self::words(places)) * SLOT
    }

    unsafe fn open<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, at: *mut u8, places: usize) {
        let old = heap.book;
        heap.book.bits = at.cast::<u32>().wrapping_add(HEADS).wrapping_sub(LOWEST);
        heap.book.places = places;
        if !G::GROWS || old.places == 0 {
            return;
        }
        // SAFETY: both tables have that many words.
        unsafe {
            let words = old.bits.wrapping_add(LOWEST);
            words.copy_to_nonoverlapping(heap.book.bits.wrapping_add(LOWEST), Self::words(old.places));
        }
        for bin in 0..CLASSES {
            let (head, first) = (heap.book.head(bin), heap.get(old.head(bin)));
            heap.put(head, first);
            if heap.has(first) {
                heap.put(heap.slot(first * SLOTS + 2), heap.number(head));
            }
        }
    }

    fn find<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, size: usize, align: usize) -> Stretch {
        let own = class(size);
        let mut bins = heap.book.bins & !0 << own;
        // From here on any hole has room.
        let sure = bins & !1 << class(size + (align - 1) / UNIT);
        // Of the own class, some; of a larger one, the first is good, and some more may be tighter.
        let mut more = 0;
        if sure != 0 {
            bins &= sure | 1 << own;
            more = LOOKS;
        }
        let (mut looks, mut best, mut limit) = (if more > 0 { more } else { PROBES }, 0, usize::MAX);
        while best == 0 && bins != 0 {
            let bin = bins.trailing_zeros();
            bins &= bins - 1;
            let mut at = heap.get(heap.book.head(bin));
            while looks > 0 && limit > size && heap.has(at) {
                looks -= 1;
                M::probe();
                if M::CHECKED && !heap.vet_hole(at) {
                    break;
                }
                let hole = heap.hole(at);
                if hole.size < limit && size + heap.skew(at, align) <= hole.size {
                    (best, limit) = (at, hole.size);
                }
                at = hole.next;
            }
            looks += more;
        }
        // Where a hole was overwritten, it may claim to be anything.
        if limit > heap.end - best { Stretch::default() } else { Stretch { at: best, size: limit } }
    }

    #[inline]
    fn take<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, hole: Stretch, at: usize, size: usize) {
        heap.unlink(hole.at, hole.size);
        heap.link(hole.at, at - hole.at);
        heap.link(at + size, hole.at + hole.size - at - size);
        if M::CHECKED {
            heap.book.flip_all(at, at + size);
        }
        if G::RETURNS {
            // With what the holes around say, which lies next to it.
            heap.keep(at - 1, at + size + 1);
        }
    }

    #[inline]
    fn release<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, at: usize, size: usize) {
        let to = at + size;
        let (after, before) = (Self::ahead(heap, to), Self::back(heap, at));
        if after > 0 {
            heap.unlink(to, after);
        }
        if before > 0 {
            heap.unlink(at - before, before);
        }
        if M::CHECKED {
            heap.book.flip_all(at, to);
        }
        heap.link(at - before, before + size + after);
        // But for both ends, which say how large the hole is. What said so before is no end any more.
        let (from, end) = ((at - before + 1).div_ceil(FIRST), (to + after - 1) / FIRST);
        if G::RETURNS && from < end {
            heap.retire(at - 1, to + 1, from, end);
        }
    }

    #[inline]
    fn ahead<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize) -> usize {
        heap.beside(at, at * SLOTS, heap.end - at)
    }

    #[inline]
    fn back<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize) -> usize {
        heap.beside(at - 1, at * SLOTS - 1, at - FIRST)
    }

    fn is_free<G: Ground, M: Mode>(_: &Heap<G, M, Self>, _: usize) -> bool {
        // What is taken is struck from the note of them (`Heap::keep`).
        true
    }

    fn vet<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize, size: usize) -> Result<(), Fault> {
        heap.vet_block(at, size)
    }

    fn check<G: Ground, M: Mode>(heap: &Heap<G, M, Self>) -> Result<(), Broken> {
        heap.check_marks()
    }

    fn tally<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, stats: &mut Stats) {
        heap.tally_holes(stats);
    }
}
