//! Sheaves and the words that stand for them.
//!
//! A *sheaf* is a block of `2^order` bytes aligned to its size. Its last `cap` slots hold objects, the slot below them holds null.
//!
//! ```text
//! block                                                   block + 2^order
//!   | unused ... | null | object | object | free | free |
//!                                          ^ top
//! ```
//!
//! A *word* is the address of the top, relative to the base of the queue table, which is aligned to the largest sheaf and has a null
//! below it. So a pop that reads the null found the sheaf empty, a push whose word is a multiple of the sheaf's size found it full,
//! and the word 0, which is what untouched memory holds, is both: no initialisation check, no set-up per CPU.

use crate::config::{SHEAF_MIN_ORDER, SHEAF_ORDERS};

/// Geometry of one cache's sheaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// log2 of a sheaf's bytes.
    pub order: u32,
    /// Objects that a sheaf holds.
    pub cap: u32,
}

impl Shape {
    /// The smallest sheaf that holds `cap` objects.
    #[must_use]
    pub const fn holding(cap: u32) -> Self {
        let cap = if cap == 0 { 1 } else { cap };
        let order = ((cap + 1) * 8).next_power_of_two().trailing_zeros();
        Self { order: if order < SHEAF_MIN_ORDER { SHEAF_MIN_ORDER } else { order }, cap }
    }

    /// Bytes of a sheaf less one: the bits of a word that are zero when the sheaf is full.
    #[must_use]
    pub const fn mask(self) -> u64 {
        (1 << self.order) - 1
    }

    /// This order's place among the sheaf sizes.
    #[must_use]
    pub const fn order_index(self) -> usize {
        let index = (self.order - SHEAF_MIN_ORDER) as usize;
        assert!(index < SHEAF_ORDERS);
        index
    }

    /// Index of the slot that holds null.
    #[must_use]
    pub const fn sentinel(self) -> usize {
        (1 << (self.order - 3)) - 1 - self.cap as usize
    }
}

/// Which way a slow path went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It was a free.
    Free = 0,
    /// It was an allocation.
    Alloc = 1,
}

/// What the low three bits of a spare word remember: which way the last exchange with the main sheaf went, and how many in a row went
/// the other way than the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turns(u64);

impl Turns {
    const WAY: u64 = 1;
    const ONE: u64 = 2;
    const MOST: u64 = 6;

    /// After one more exchange; `None` if the queue has gone back and forth so often that exchanging no longer helps.
    #[must_use]
    pub const fn next(self, way: Way) -> Option<Self> {
        match self.0 & Self::MOST {
            _ if self.0 & Self::WAY == way as u64 => Some(Self(way as u64)),
            Self::MOST => None,
            turns => Some(Self((turns + Self::ONE) | way as u64)),
        }
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}

/// State of one queue: which sheaf, and how full. See the module. The low three bits of a spare word are its [`Turns`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Word(pub(super) u64);

impl Word {
    /// No sheaf: empty and full at once.
    pub const NONE: Self = Self(0);

    /// True if there is no sheaf.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.top() == 0
    }

    /// What it remembers if it is a spare word.
    #[must_use]
    pub const fn turns(self) -> Turns {
        Turns(self.0 & 7)
    }

    /// The address of the top, relative to the base.
    pub(super) const fn top(self) -> u64 {
        self.0 & !7
    }

    /// Objects in its sheaf, which must be of `shape`; 0 if there is none.
    #[must_use]
    pub const fn len(self, shape: Shape) -> u32 {
        if self.is_none() {
            return 0;
        }
        // A word that was only peeked at may be of another shape by now: then the length means nothing, but is none that `shape` forbids.
        (((self.0.wrapping_sub(8) & shape.mask()) / 8) as u32).saturating_sub(shape.sentinel() as u32)
    }

    /// True if there is no object in its sheaf, or no sheaf.
    #[must_use]
    pub const fn is_empty(self, shape: Shape) -> bool {
        self.len(shape) == 0
    }

    /// True if there is no room in its sheaf, or no sheaf.
    #[must_use]
    pub const fn is_full(self, shape: Shape) -> bool {
        self.top() & shape.mask() == 0
    }
}

/// Head of a chain of blocks: the first one's address in the low 48 bits, the number of blocks in the others. Each block's first eight
/// bytes hold the head below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct Chain(pub(super) u64);

impl Chain {
    const ADDRESS: u32 = 48;
    /// Blocks that can be counted.
    pub(super) const MOST: u64 = (1 << (64 - Self::ADDRESS)) - 1;

    /// Blocks in it.
    pub(super) const fn len(self) -> u64 {
        self.0 >> Self::ADDRESS
    }

    /// The first of them; null if there is none.
    pub(super) fn block(self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut((self.0 & ((1 << Self::ADDRESS) - 1)) as usize)
    }

    /// This chain with `block` in front. The caller links them.
    pub(super) fn with(self, block: *mut u8) -> Self {
        Self(block.expose_provenance() as u64 | (self.len() + 1) << Self::ADDRESS)
    }
}

/// A sheaf that nobody else can reach.
#[derive(Debug)]
#[must_use]
pub struct Sheaf {
    block: *mut u64,
    len: u32,
    shape: Shape,
}

// SAFETY: a sheaf is owned memory full of addresses.
unsafe impl Send for Sheaf {}

impl Sheaf {
    /// An empty sheaf in `block`.
    ///
    /// # Safety
    /// `block` is a dead block of `2^shape.order` bytes aligned to its size, and the caller's.
    pub unsafe fn new(block: *mut u8, shape: Shape) -> Self {
        let block = block.cast::<u64>();
        // SAFETY: the sentinel lies within the block.
        unsafe { block.add(shape.sentinel()).write(0) };
        Self { block, len: 0, shape }
    }

    /// The sheaf that `word` stands for.
    ///
    /// # Safety
    /// The word was taken out of its queue, so that the sheaf is the caller's, and is of `shape`.
    #[must_use]
    pub unsafe fn from_word(word: Word, base: *mut u8, shape: Shape) -> Option<Self> {
        if word.is_none() {
            return None;
        }
        let last = word.0.wrapping_sub(8);
        let block = base.wrapping_add((last & !shape.mask()) as usize).cast::<u64>();
        Some(Self { block, len: word.len(shape), shape })
    }

    /// The word that stands for this sheaf; whoever gets the word gets the sheaf.
    pub fn into_word(self, base: *mut u8) -> Word {
        let top = self.block.wrapping_add(self.shape.sentinel() + 1 + self.len as usize);
        Word((top.addr() as u64).wrapping_sub(base.addr() as u64))
    }

    /// Objects in it.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// True if it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if no more fit.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.len == self.shape.cap
    }

    /// Objects that still fit.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.shape.cap - self.len
    }

    /// Its geometry.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes the object added last.
    #[must_use]
    pub fn pop(&mut self) -> Option<*mut u8> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: slot `len` of the objects is initialised.
        Some(unsafe { self.objects_ptr().add(self.len as usize).read() })
    }

    /// Adds an object; false if it is full.
    #[must_use]
    pub fn push(&mut self, object: *mut u8) -> bool {
        if self.is_full() {
            return false;
        }
        // SAFETY: there is room, so the slot lies within the block.
        unsafe { *self.objects_ptr().add(self.len as usize) = object };
        self.len += 1;
        true
    }

    /// The objects, oldest first.
    #[must_use]
    pub fn objects(&self) -> &[*mut u8] {
        // SAFETY: `len` objects from the slot above the sentinel are initialised.
        unsafe { core::slice::from_raw_parts(self.objects_ptr(), self.len as usize) }
    }

    /// Lets `fill` write objects into the free slots; it returns how many it wrote, from the first on. They are put in order so that
    /// the first written is the first to be popped.
    pub fn fill(&mut self, most: u32, fill: impl FnOnce(&mut [*mut u8]) -> usize) -> u32 {
        let room = self.room().min(most) as usize;
        // SAFETY: the slots lie within the block; addresses of any value are valid, and the block is initialised memory.
        let slots = unsafe { core::slice::from_raw_parts_mut(self.objects_ptr().add(self.len as usize), room) };
        let filled = fill(slots);
        slots[..filled.min(room)].reverse();
        self.len += filled.min(room) as u32;
        filled as u32
    }

    /// Moves the `count` objects added last to `other`, keeping their order. Fewer if it has less, or `other` less room.
    pub fn move_newest(&mut self, other: &mut Self, count: u32) {
        let count = count.min(self.len).min(other.room());
        self.len -= count;
        // SAFETY: initialised slots of this sheaf, free slots of the other, which is another block.
        unsafe {
            let from = self.objects_ptr().add(self.len as usize);
            other.objects_ptr().add(other.len as usize).copy_from_nonoverlapping(from, count as usize);
        }
        other.len += count;
    }

    /// Moves the newer half of `from`, at least one object, into this sheaf.
    pub fn fill_half(&mut self, from: &mut Self) {
        let half = from.len.div_ceil(2);
        from.move_newest(self, half);
    }

    /// Moves the `count` objects added first to `other`, on top of its own. Fewer if it has less, or `other` less room.
    pub fn move_oldest(&mut self, other: &mut Self, count: u32) {
        let count = count.min(self.len).min(other.room());
        self.len -= count;
        // SAFETY: as above; what stays slides down within the block.
        unsafe {
            let objects = self.objects_ptr();
            other.objects_ptr().add(other.len as usize).copy_from_nonoverlapping(objects, count as usize);
            objects.copy_from(objects.add(count as usize), self.len as usize);
        }
        other.len += count;
    }

    /// Forgets the `count` objects added first, which are elsewhere now.
    pub fn forget_oldest(&mut self, count: u32) {
        let count = count.min(self.len);
        self.len -= count;
        // SAFETY: what stays slides down within the block.
        unsafe {
            let objects = self.objects_ptr();
            objects.copy_from(objects.add(count as usize), self.len as usize);
        }
    }

    /// Forgets the objects, which are elsewhere now.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Gives up the block; the sheaf must be empty or its objects elsewhere.
    pub fn into_block(self) -> *mut u8 {
        self.block.cast()
    }

    /// Takes `block` for a full sheaf, as it comes out of a stash or depot.
    ///
    /// # Safety
    /// `block` held a full sheaf of `shape` when it was put there and is the caller's now.
    pub unsafe fn from_full(block: *mut u8, shape: Shape) -> Self {
        // SAFETY: as for `new`; the link that the stash kept in the block may lie where the sentinel belongs.
        let mut sheaf = unsafe { Self::new(block, shape) };
        sheaf.len = shape.cap;
        sheaf
    }

    fn objects_ptr(&self) -> *mut *mut u8 {
        // SAFETY: the slot above the sentinel lies within the block, since cap >= 1.
        unsafe { self.block.add(self.shape.sentinel() + 1).cast() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(1024))]
    struct Block(#[allow(dead_code)] [u64; 128]);

    #[test]
    fn shapes_hold_what_they_say() {
        for cap in 1..=5000 {
            let shape = Shape::holding(cap);
            assert!(shape.sentinel() + 1 + cap as usize == 1 << (shape.order - 3));
            assert_eq!(shape.order_index() as u32, shape.order - SHEAF_MIN_ORDER);
        }
    }

    #[test]
    fn a_queue_may_go_back_and_forth_three_times() {
        const EITHER: [Way; 2] = [Way::Free, Way::Alloc];
        for first in EITHER {
            let other = EITHER[1 - first as usize];
            // The same way again and again is no turn.
            let start = Turns(0).next(first).and_then(|turns| turns.next(first)).expect("no turn yet");
            assert_eq!(start, Turns(first as u64));
            let mut turns = start;
            for way in [other, first, other] {
                turns = turns.next(way).expect("not too often yet");
                assert_eq!(turns.bits() & 1, way as u64);
                assert_eq!(turns.next(way), Some(Turns(way as u64)), "forgotten after two of a kind");
                assert_eq!(Word(0x1000 | turns.bits()).turns(), turns);
                assert_eq!(Word(0x1000 | turns.bits()).top(), 0x1000);
            }
            assert_eq!(turns.next(first), None);
        }
    }

    #[test]
    fn words_say_how_full_their_sheaf_is() {
        for cap in [1, 60, 126, 127] {
            let shape = Shape { order: 10, cap };
            let end = 5 << shape.order;
            for len in 0..=cap {
                for turns in [0, 7] {
                    let word = Word((end - 8 * u64::from(cap - len)) | turns);
                    assert!(!word.is_none());
                    let told = (word.len(shape), word.is_empty(shape), word.is_full(shape));
                    assert_eq!(told, (len, len == 0, len == cap), "{cap}, {turns}");
                }
            }
            // Of another shape: whatever it is, it is one that this shape allows.
            (1..=256).for_each(|top| assert!(Word(8 * top).len(shape) <= cap));
            let none = Word::NONE;
            assert!(none.is_none() && none.is_empty(shape) && none.is_full(shape) && none.len(shape) == 0);
        }
    }

    #[test]
    fn chains_count_their_blocks() {
        let block = |at: usize| core::ptr::without_provenance_mut::<u8>(at << 10);
        let mut chain = Chain(0);
        assert!(chain.block().is_null() && chain.len() == 0);
        for count in 1..=20 {
            // The caller links them: what is in front is what was put there last.
            chain = Chain(chain.0 & !((1 << Chain::ADDRESS) - 1)).with(block(count));
            assert_eq!((chain.block(), chain.len()), (block(count), count as u64));
        }
        assert_eq!(Chain::MOST, 0xFFFF);
        assert_eq!(Chain(u64::MAX).len(), Chain::MOST);
    }

    #[test]
    fn words_keep_sheaf_and_length() {
        let mut block = Block([7; 128]);
        let base = core::ptr::without_provenance_mut::<u8>(1 << 20);
        for cap in [1, 60, 126, 127] {
            let shape = Shape { order: 10, cap };
            // SAFETY: a block of 1 KiB on the stack.
            let mut sheaf = unsafe { Sheaf::new((&raw mut block).cast(), shape) };
            for n in 0..cap {
                assert_eq!((sheaf.len(), sheaf.room(), sheaf.is_empty()), (n, cap - n, n == 0));
                assert!(sheaf.push(core::ptr::without_provenance_mut(8 + n as usize)));
                let word = sheaf.into_word(base);
                assert_eq!(word.0 & shape.mask() == 0, n + 1 == cap, "full iff the masked word is zero");
                // SAFETY: the word just made; provenance does not matter to the arithmetic checked here.
                let back = unsafe { Sheaf::from_word(word, base, shape) }.unwrap();
                assert_eq!((back.len(), back.is_full()), (n + 1, n + 1 == cap));
                sheaf = Sheaf { block: (&raw mut block).cast(), ..back };
            }
            assert!(!sheaf.push(core::ptr::null_mut()));
            assert_eq!(sheaf.pop(), Some(core::ptr::without_provenance_mut(7 + cap as usize)));
            sheaf.clear();
            assert_eq!(sheaf.pop(), None);
            assert_eq!(sheaf.into_block(), (&raw mut block).cast());
        }
    }

    #[test]
    fn halves_move_in_order() {
        let (mut a, mut b) = (Block([0; 128]), Block([0; 128]));
        let shape = Shape { order: 10, cap: 100 };
        // SAFETY: two blocks of 1 KiB on the stack.
        let (mut a, mut b) = unsafe { (Sheaf::new((&raw mut a).cast(), shape), Sheaf::new((&raw mut b).cast(), shape)) };
        (1..=10).for_each(|n| assert!(a.push(core::ptr::without_provenance_mut(n))));
        a.move_newest(&mut b, 4);
        a.move_oldest(&mut b, 2);
        let addresses = |sheaf: &Sheaf| sheaf.objects().iter().map(|p| p.addr()).fold(0, |sum, n| sum * 11 + n);
        assert_eq!(addresses(&a), [3, 4, 5, 6].into_iter().fold(0, |sum, n| sum * 11 + n));
        assert_eq!(addresses(&b), [7, 8, 9, 10, 1, 2].into_iter().fold(0, |sum, n| sum * 11 + n));
        a.move_newest(&mut b, 1000);
        assert_eq!((a.len(), b.len()), (0, 10));
        a.fill_half(&mut b);
        assert_eq!((a.len(), b.len()), (5, 5));
        assert_eq!(addresses(&a), [2, 3, 4, 5, 6].into_iter().fold(0, |sum, n| sum * 11 + n));
        a.fill_half(&mut b);
        assert_eq!((a.len(), b.len()), (8, 2), "the newer half is the larger one");
        a.forget_oldest(5);
        assert_eq!(addresses(&a), [9, 10, 1].into_iter().fold(0, |sum, n| sum * 11 + n));
        a.forget_oldest(7);
        assert!(a.is_empty());
    }

    #[test]
    fn fill_hands_out_in_the_order_written() {
        let mut block = Block([0; 128]);
        // SAFETY: a block of 1 KiB on the stack.
        let mut sheaf = unsafe { Sheaf::new((&raw mut block).cast(), Shape { order: 10, cap: 127 }) };
        let filled = sheaf.fill(5, |slots| {
            slots.iter_mut().enumerate().for_each(|(i, slot)| *slot = core::ptr::without_provenance_mut(i + 1));
            3
        });
        assert_eq!((filled, sheaf.len()), (3, 3));
        assert_eq!(sheaf.pop().map(|p| p.addr()), Some(1));
    }
}
