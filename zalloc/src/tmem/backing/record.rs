//! The form of the backing file: a header, and records of whole units, each with a header of its own (theory 5.5).
//!
//! All numbers are little-endian words. Each header ends with a checksum of itself, each record's has one of the data, too; both depend on
//! a secret of the file and on where the record is. So a torn record is seen; and nothing that looks like a record is one, such as a page
//! that is a copy of another backing file.

use super::super::key::{Oid, Uuid};
use super::super::page::Version;
use crate::pool::Meta;

/// Bytes of a unit: what a record starts at a multiple of.
pub(super) const UNIT: usize = 512;
/// Bytes of a record's header.
pub(super) const HEADER: usize = 16 * WORD;
const WORD: usize = size_of::<u64>();

const FILE_MAGIC: u64 = u64::from_le_bytes(*b"kmemtmem");
const RECORD_MAGIC: u64 = u64::from_le_bytes(*b"kmempage");
const FORM: u64 = 1;

/// A page, as the file names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) uuid: Uuid,
    pub(crate) oid: Oid,
    pub(crate) index: u32,
    pub(crate) version: Version,
}

/// What a record's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) identity: Identity,
    pub(super) meta: Meta,
    /// Checksum of the data.
    pub(super) data: u64,
}

/// What the file's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Label {
    /// When the machine was started: after a crash of the system, what is in the file may be of any age.
    pub(super) boot: u64,
    /// The codecs and the shape.
    pub(super) codecs: u64,
    pub(super) secret: u64,
}

/// Units of a record with so many bytes of data.
pub(super) fn units(stored: usize) -> usize {
    (HEADER + stored).div_ceil(UNIT)
}

/// 64 bits of `bytes`: enough to tell what is torn from what is not; no defence against somebody who knows the seed.
pub(super) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<WORD>();
    let mut last = [0; WORD];
    last[..rest.len()].copy_from_slice(rest);
    let mut sum = seed ^ (bytes.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for word in words.iter().chain([&last]) {
        sum = mix(sum ^ u64::from_le_bytes(*word));
    }
    sum
}

/// Every bit of the product's both halves counts.
fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0xA076_1D64_78BD_642F) * 0xE703_7ED1_A0B4_28DB;
    (product >> 64) as u64 ^ product as u64 ^ word.rotate_left(32)
}

fn put<const N: usize>(to: &mut [u8], words: [u64; N]) {
    for (place, word) in to.as_chunks_mut::<WORD>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
}

fn get<const N: usize>(from: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, place) in words.iter_mut().zip(from.as_chunks::<WORD>().0) {
        *word = u64::from_le_bytes(*place);
    }
    words
}

/// Writes words and, behind them, at the end of the header, their checksum.
fn seal<const N: usize>(header: &mut [u8], words: [u64; N], seed: u64) {
    header.fill(0);
    put(header, words);
    let (body, sum) = header.split_at_mut(HEADER - WORD);
    put(sum, [checksum(seed, body)]);
}

/// The words of a header that [`seal`] has written.
fn sealed<const N: usize>(header: &[u8], seed: u64) -> Option<[u64; N]> {
    let (body, sum) = header.split_at_checked(HEADER - WORD)?;
    (get::<1>(sum) == [checksum(seed, body)]).then(|| get(body))
}

impl Label {
    pub(super) fn write(&self, header: &mut [u8; HEADER]) {
        seal(header, [FILE_MAGIC, FORM, self.boot, self.codecs, self.secret], 0);
    }

    pub(super) fn read(header: &[u8; HEADER]) -> Option<Self> {
        let [magic, form, boot, codecs, secret] = sealed(header, 0)?;
        (magic == FILE_MAGIC && form == FORM).then_some(Self { boot, codecs, secret })
    }
}

impl Record {
    fn seed(secret: u64, unit: u32) -> u64 {
        mix(secret ^ u64::from(unit))
    }

    /// Checksum of the data of a record at `unit`.
    pub(super) fn sum(secret: u64, unit: u32, data: &[u8]) -> u64 {
        checksum(Self::seed(secret, unit).rotate_left(17), data)
    }

    pub(super) fn write(&self, header: &mut [u8], secret: u64, unit: u32) {
        let Identity { uuid: Uuid([u0, u1]), oid: Oid([o0, o1, o2]), index, version } = self.identity;
        let words = [RECORD_MAGIC, u0, u1, o0, o1, o2, index.into(), version.0, self.meta.to_bits(), self.data];
        seal(header, words, Self::seed(secret, unit));
    }

    /// The record whose header this is, if it is one.
    pub(super) fn read(header: &[u8], secret: u64, unit: u32) -> Option<Self> {
        if get(header) != [RECORD_MAGIC] {
            return None;
        }
        let [_, u0, u1, o0, o1, o2, index, version, meta, data] = sealed(header, Self::seed(secret, unit))?;
        let (index, meta) = (u32::try_from(index).ok()?, Meta::from_bits(meta)?);
        let identity = Identity { uuid: Uuid([u0, u1]), oid: Oid([o0, o1, o2]), index, version: Version(version) };
        Some(Self { identity, meta, data })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn record() -> Record {
        let identity = Identity { uuid: Uuid([1, 2]), oid: Oid([3, 4, 5]), index: 6, version: Version(7) };
        Record { identity, meta: Meta::new(4096, 1000, 0), data: 8 }
    }

    #[test]
    fn headers_say_what_was_written_and_only_where() {
        let mut header = [0; HEADER];
        record().write(&mut header, 99, 5);
        assert_eq!(Record::read(&header, 99, 5), Some(record()));
        assert_eq!((Record::read(&header, 99, 6), Record::read(&header, 98, 5)), (None, None));
        let label = Label { boot: 1, codecs: 2, secret: 3 };
        label.write(&mut header);
        assert_eq!((Label::read(&header), Record::read(&header, 99, 5)), (Some(label), None));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let mut header = [0; HEADER];
        record().write(&mut header, 99, 5);
        for bit in 0..HEADER * 8 {
            header[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::read(&header, 99, 5), None, "{bit}");
            header[bit / 8] ^= 1 << (bit % 8);
        }
        let mut data = std::vec![0; 1001];
        let sum = Record::sum(1, 1, &data);
        for bit in 0..data.len() * 8 {
            data[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Record::sum(1, 1, &data), sum, "{bit}");
            data[bit / 8] ^= 1 << (bit % 8);
        }
        assert_ne!(Record::sum(1, 1, &data[..1000]), sum, "the length counts");
    }
}
