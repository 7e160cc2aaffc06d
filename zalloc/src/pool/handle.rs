//! What a pool gives for what it was given.

use core::fmt::{Debug, Formatter, Result};

/// Names stored bytes: where they are, how many they were and became, and how. Sixteen bytes, kept by the user, so that the pool needs
/// no table of its own (theory 4.1).
///
/// Freed, it is refused from then on. One of a same-filled page names no memory but is the page: there is nothing in it that could
/// become stale.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    word: u64,
    meta: Meta,
}

/// The second half of a handle: `{len: 24, stored: 24, level: 4, tried: 4}` bits.
///
/// | `stored` | what is stored |
/// |---|---|
/// | 0 | nothing: the data is same-filled, and the handle's first word is what with |
/// | less than `len` | the data as the codec of `level` has written it |
/// | `len` | the data as it is |
///
/// Above one page `stored` bytes are several objects (theory 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Meta(u64);

const LEN_BITS: u32 = 24;
const LEN_MASK: u64 = (1 << LEN_BITS) - 1;
const LEVEL_BITS: u32 = 4;
const LEVEL_MASK: u64 = (1 << LEVEL_BITS) - 1;
const LEVEL_AT: u32 = 2 * LEN_BITS;
const TRIED_AT: u32 = LEVEL_AT + LEVEL_BITS;
const USED: u64 = (1 << (TRIED_AT + LEVEL_BITS)) - 1;

/// Bytes that the lengths of a handle can count.
pub(crate) const MOST: usize = LEN_MASK as usize;

/// How stored bytes have to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Filled,
    Packed,
    Raw,
}

impl Meta {
    pub(crate) fn new(len: usize, stored: usize, level: usize) -> Self {
        debug_assert!(len <= MOST && stored <= len && level <= LEVEL_MASK as usize);
        Self(len as u64 | (stored as u64) << LEN_BITS | (level as u64) << LEVEL_AT | (level as u64) << TRIED_AT)
    }

    /// The same with a note that the codecs up to `level` gain nothing.
    pub(crate) fn tried_up_to(self, level: usize) -> Self {
        Self(self.0 & !(LEVEL_MASK << TRIED_AT) | (level as u64 & LEVEL_MASK) << TRIED_AT)
    }

    pub(crate) fn len(self) -> usize {
        (self.0 & LEN_MASK) as usize
    }

    pub(crate) fn stored(self) -> usize {
        (self.0 >> LEN_BITS & LEN_MASK) as usize
    }

    pub(crate) fn level(self) -> usize {
        (self.0 >> LEVEL_AT & LEVEL_MASK) as usize
    }

    /// The last codec that was tried.
    pub(crate) fn tried(self) -> usize {
        (self.0 >> TRIED_AT & LEVEL_MASK) as usize
    }

    pub(crate) fn form(self) -> Form {
        match self.stored() {
            0 => Form::Filled,
            stored if stored == self.len() => Form::Raw,
            _ => Form::Packed,
        }
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Nothing if no pool writes such a word.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let meta = Self(bits);
        (bits & !USED == 0 && meta.stored() <= meta.len() && meta.level() <= meta.tried()).then_some(meta)
    }
}

impl Handle {
    pub(crate) fn new(word: u64, meta: Meta) -> Self {
        Self { word, meta }
    }

    pub(crate) fn word(self) -> u64 {
        self.word
    }

    pub(crate) fn meta(self) -> Meta {
        self.meta
    }

    /// Bytes that were stored.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        self.meta.len()
    }

    /// Bytes that they became: 0 if same-filled, [`len`](Self::len) if they are stored as they are, else less.
    #[must_use]
    pub fn stored_len(self) -> usize {
        self.meta.stored()
    }

    /// Number of the codec that has compressed them, in the pool's list.
    #[must_use]
    pub fn level(self) -> usize {
        self.meta.level()
    }

    /// As a number, to be stored where handles cannot be.
    #[must_use]
    pub fn to_bits(self) -> u128 {
        u128::from(self.word) | u128::from(self.meta.to_bits()) << 64
    }

    /// The handle of [`Self::to_bits`]; nothing if no handle has that number. A made-up one is refused by the pool, or names bytes of
    /// somebody else's, or garbage; it is never undefined behaviour.
    #[must_use]
    pub fn from_bits(bits: u128) -> Option<Self> {
        Meta::from_bits((bits >> 64) as u64).map(|meta| Self { word: bits as u64, meta })
    }
}

impl Debug for Handle {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.debug_struct("Handle").field("word", &self.word).field("meta", &self.meta).finish()
    }
}

impl Debug for Meta {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        let mut all = to.debug_struct("Meta");
        all.field("len", &self.len()).field("stored", &self.stored()).field("level", &self.level()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        for (len, stored, level) in [(0, 0, 0), (MOST, MOST, 15), (4096, 17, 3), (MOST, 1, 0)] {
            let meta = Meta::new(len, stored, level);
            assert_eq!((meta.len(), meta.stored(), meta.level(), meta.tried()), (len, stored, level, level));
            let tried = meta.tried_up_to(15);
            assert_eq!((tried.len(), tried.stored(), tried.level(), tried.tried()), (len, stored, level, 15));
            let handle = Handle::new(u64::MAX - 5, tried);
            assert_eq!(Handle::from_bits(handle.to_bits()), Some(handle));
        }
    }

    #[test]
    fn numbers_that_no_pool_writes_are_none() {
        let meta = |bits: u64| Meta::from_bits(bits);
        assert!(meta(5 | 6 << 24).is_none(), "stored above len");
        assert!(meta(1 << 56).is_none(), "an unused bit");
        assert!(meta(8 | 3 << 48).is_none(), "a level that was never tried");
        assert!(meta(8 | 7 << 24).is_some());
    }

    #[test]
    fn the_form_follows_from_the_lengths() {
        assert_eq!(Meta::new(4096, 0, 0).form(), Form::Filled);
        assert_eq!(Meta::new(4096, 4095, 0).form(), Form::Packed);
        assert_eq!(Meta::new(4096, 4096, 0).form(), Form::Raw);
        assert_eq!(Meta::new(0, 0, 0).form(), Form::Filled);
    }
}
