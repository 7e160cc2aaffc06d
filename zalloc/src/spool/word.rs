//! The word behind a handle: eight bytes that say where the object is, and what is happening to it (theory 3.3).

use kmem_base::sync::{AtomicU64, Ordering};

/// Where an object is: in units of [`STEP`](super::config::STEP) bytes from the first place of its shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Location(u32);

impl Location {
    const UNITS: u32 = 12;

    /// Byte `offset` of a place. A multiple of 16.
    pub(super) const fn new(place: u32, offset: usize) -> Self {
        Self(place << Self::UNITS | (offset >> 4) as u32)
    }

    /// The place.
    pub(super) const fn place(self) -> u32 {
        self.0 >> Self::UNITS
    }

    /// Bytes from the place's beginning.
    pub(super) const fn offset(self) -> usize {
        ((self.0 & ((1 << Self::UNITS) - 1)) as usize) << 4
    }

    /// Bytes from the first place.
    pub(super) const fn bytes(self) -> usize {
        (self.0 as usize) << 4
    }
}

/// The life of a slot that an object has: 1 to 8191. A slot that has had them all is retired, so that none ever comes twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Generation(pub(super) u16);

impl Generation {
    /// The first one. 0 is that of slots that have not begun, and of retired ones.
    pub(super) const FIRST: Self = Self(1);
    pub(super) const LAST: Self = Self((1 << Self::BITS) - 1);
    pub(super) const BITS: u32 = 13;

    /// The one after it, if there is one.
    pub(super) const fn next(self) -> Option<Self> {
        if self.0 < Self::LAST.0 { Some(Self(self.0 + 1)) } else { None }
    }
}

/// A slot's word. From the top:
///
/// | bits | live or dying | vacant |
/// |---|---|---|
/// | 13 | generation | generation of its next object |
/// | 1 | dying: freed, but somebody still reads | 1 |
/// | 1 | moving: compaction is copying it | 0 |
/// | 7 | pins: guards that read it; 127: being written | 127 |
/// | 12 | bytes, less one | next vacant slot, |
/// | 30 | location | 42 bits |
///
/// All zero: the slot has not begun, or is retired. Changes are functions from one word to the next, or to nothing where they are not
/// allowed; [`Slot::try_update`] makes them happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(u64);

const SIZE: u32 = 30;
const PINS: u32 = 42;
const MOVING: u64 = 1 << 49;
const DYING: u64 = 1 << 50;
const GENERATION: u32 = 51;
const PIN: u64 = 1 << PINS;
const ALL_PINS: u64 = 127 << PINS;
const LINK: u64 = PIN - 1;

/// Most guards of one object.
pub(super) const MAX_PINS: u32 = 126;

impl Word {
    /// A slot that has not begun, or is retired.
    pub(super) const NONE: Self = Self(0);

    /// A live object that nobody reads or writes.
    pub(super) const fn live(generation: Generation, size: usize, at: Location) -> Self {
        Self((generation.0 as u64) << GENERATION | (size as u64 - 1) << SIZE | at.0 as u64)
    }

    /// A slot without an object. `next` is another one.
    pub(super) const fn vacant(generation: Generation, next: u32) -> Self {
        Self((generation.0 as u64) << GENERATION | DYING | ALL_PINS | next as u64)
    }

    /// The head of a page of retired slots; `next` is another one.
    pub(super) const fn dead(next: u32) -> Self {
        Self(next as u64)
    }

    /// The next slot of a chain.
    pub(super) const fn link(self) -> u32 {
        (self.0 & LINK) as u32
    }

    pub(super) const fn generation(self) -> Generation {
        Generation((self.0 >> GENERATION) as u16)
    }

    /// Bytes of the object.
    pub(super) const fn size(self) -> usize {
        ((self.0 >> SIZE) & 0xFFF) as usize + 1
    }

    pub(super) const fn location(self) -> Location {
        Location((self.0 & ((1 << SIZE) - 1)) as u32)
    }

    /// Guards, unless it is being written.
    pub(super) const fn pins(self) -> u32 {
        ((self.0 & ALL_PINS) >> PINS) as u32
    }

    pub(super) const fn is_written(self) -> bool {
        self.0 & (ALL_PINS | DYING) == ALL_PINS
    }

    pub(super) const fn is_moving(self) -> bool {
        self.0 & MOVING != 0
    }

    pub(super) const fn is_dying(self) -> bool {
        self.0 & DYING != 0 && !self.is_vacant()
    }

    pub(super) const fn is_vacant(self) -> bool {
        self.0 & (ALL_PINS | DYING) == ALL_PINS | DYING
    }

    /// True for the object of this generation, unless it was freed.
    pub(super) const fn is(self, generation: Generation) -> bool {
        self.generation().0 == generation.0 && self.0 & DYING == 0
    }

    /// One guard more.
    pub(super) fn pin(self, generation: Generation) -> Option<Self> {
        (self.is(generation) && self.pins() < MAX_PINS).then_some(Self(self.0 + PIN))
    }

    /// One guard less. Of a dying object that no guard is left of, it makes the caller the one to release it.
    pub(super) fn unpin(self) -> Option<Self> {
        (self.pins() > 0 && self.pins() <= MAX_PINS).then_some(Self(self.0.wrapping_sub(PIN)))
    }

    /// To be written: nobody reads, writes or copies it.
    pub(super) fn seize(self, generation: Generation) -> Option<Self> {
        (self.is(generation) && self.0 & (ALL_PINS | MOVING) == 0).then_some(Self(self.0 | ALL_PINS))
    }

    /// Written.
    pub(super) fn yield_up(self) -> Option<Self> {
        self.is_written().then_some(Self(self.0 & !ALL_PINS))
    }

    /// Freed. Without a guard, it makes the caller the one to release it.
    pub(super) fn condemn(self, generation: Generation) -> Option<Self> {
        (self.is(generation) && !self.is_written()).then_some(Self(self.0 | DYING))
    }

    /// To be copied: nobody reads or writes it, nor has freed it.
    pub(super) fn start_move(self) -> Option<Self> {
        let quiet = self.0 & (DYING | MOVING | ALL_PINS) == 0 && self.generation().0 != 0;
        quiet.then_some(Self(self.0 | MOVING))
    }

    /// Copied: it is there now, unless somebody reads the old copy or has freed it.
    pub(super) fn finish_move(self, to: Location) -> Option<Self> {
        let quiet = self.0 & (DYING | MOVING | ALL_PINS) == MOVING;
        quiet.then_some(Self(self.0 & !(MOVING | ((1 << SIZE) - 1)) | to.0 as u64))
    }

    /// Left where it was.
    pub(super) fn abandon_move(self) -> Option<Self> {
        self.is_moving().then_some(Self(self.0 & !MOVING))
    }

    /// The slot after its object was released: vacant, with the next generation; or retired. Only of a dying object without guards.
    pub(super) fn vacate(self, next: u32) -> Option<Self> {
        let dead = self.0 & (DYING | MOVING | ALL_PINS) == DYING;
        dead.then(|| self.generation().next().map_or(Self::NONE, |generation| Self::vacant(generation, next)))
    }
}

/// A word that threads share.
#[derive(Debug)]
pub(super) struct Slot(AtomicU64);

impl Slot {
    /// A slot that has not begun.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    pub(super) fn load(&self) -> Word {
        // Acquire pairs with the Release of whoever made the word, so that what it says about memory holds.
        Word(self.0.load(Ordering::Acquire))
    }

    /// Overwrites a word that is nobody else's to change: that of a vacant, new or dead slot.
    pub(super) fn store(&self, word: Word) {
        // Release pairs with the Acquire of readers: the object's bytes and place are theirs now.
        self.0.store(word.0, Ordering::Release);
    }

    /// Counts a retired slot of the page that this one heads. Returns how many there are. Under the shard's lock.
    pub(super) fn count(&self) -> u32 {
        // Relaxed: under a lock.
        self.0.fetch_add(1, Ordering::Relaxed) as u32 + 1
    }

    /// Makes a change: the new word, or the word that did not allow it.
    #[inline]
    pub(super) fn try_update(&self, change: impl Fn(Word) -> Option<Word>) -> Result<Word, Word> {
        let mut seen = self.load();
        loop {
            let next = change(seen).ok_or(seen)?;
            // AcqRel, with every other change of the word: a pin sees the bytes that were written or copied before, and a write, copy
            // or release comes after the last guard's reads.
            match self.0.compare_exchange_weak(seen.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(next),
                Err(now) => seen = Word(now),
            }
        }
    }
}
