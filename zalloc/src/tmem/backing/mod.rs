//! The backing file: where cold persistent pages go (theory 5.5).

mod record;
mod storage;
mod units;

pub(super) use record::Identity;
pub use storage::Storage;

use super::{KEYS, key::Uuid};
use crate::pool::{HEADROOM, Meta, Settings, Shape};
use kmem_base::sync::{AtomicU32, Lock, Ordering};
use record::{HEADER, Label, Record, UNIT};
use std::boxed::Box;
use std::hash::{BuildHasher, RandomState};
use std::io;
use units::Units;

const _: () = assert!(HEADER <= HEADROOM);

/// Bytes read at once when a file is scanned: a multiple of a unit.
const SCAN: usize = 128 * UNIT;

/// A backing file on its way into a store.
#[derive(Debug)]
pub struct Backing {
    storage: Box<dyn Storage>,
    most: u64,
    recover: bool,
}

impl Backing {
    /// A file, or other storage, whose contents are overwritten. It grows to `most` bytes.
    pub fn create(storage: impl Storage + 'static, most: u64) -> Self {
        Self { storage: Box::new(storage), most, recover: false }
    }

    /// One whose pages are taken over, as far as they are whole and of named pools: from a store of the same settings, which has ended,
    /// or been killed, since the machine was started. All others are overwritten.
    pub fn open(storage: impl Storage + 'static, most: u64) -> Self {
        Self { storage: Box::new(storage), most, recover: true }
    }
}

/// The file in use.
#[derive(Debug)]
pub(super) struct File {
    storage: Box<dyn Storage>,
    secret: u64,
    units: Lock<Units, { KEYS }>,
    /// 1 if what the file says may be wrong, since a record could not be made invalid.
    tainted: AtomicU32,
}

/// Why a page was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    /// The system has refused to read it.
    Refused,
    /// Something else is there.
    Other,
}

/// A page that was found in a file.
pub(super) struct Found {
    pub(super) identity: Identity,
    pub(super) unit: u32,
    pub(super) meta: Meta,
}

impl File {
    /// Makes `backing` ready, and says whether it has pages to be taken over.
    pub(super) fn new(backing: Backing, settings: &Settings) -> io::Result<(Self, bool)> {
        let count = (backing.most / UNIT as u64).clamp(1, u64::from(u32::MAX)) as usize;
        let units = Units::new(count).ok_or(io::ErrorKind::OutOfMemory)?;
        let (boot, codecs) = (boot(), fingerprint(settings));
        let mut header = [0; HEADER];
        let old = backing.storage.read_at(&mut header, 0).ok().and_then(|()| Label::read(&header));
        let recover = backing.recover && boot != 0 && old.is_some_and(|old| (old.boot, old.codecs) == (boot, codecs));
        let secret = match old {
            Some(old) if recover => old.secret,
            _ => {
                let secret = RandomState::new().hash_one(boot);
                Label { boot, codecs, secret }.write(&mut header);
                backing.storage.write_at(&header, 0)?;
                secret
            }
        };
        let file = Self { storage: backing.storage, secret, units: Lock::new(units), tainted: AtomicU32::new(0) };
        Ok((file, recover))
    }

    /// Writes a page, whose data is in `buffer` behind its first [`HEADROOM`] bytes. Nothing if the file is full or refuses.
    pub(super) fn write(&self, identity: Identity, meta: Meta, buffer: &mut [u8]) -> Option<u32> {
        let units = record::units(meta.stored());
        let unit = self.units.lock().take(units)?;
        let (header, data) = buffer.split_at_mut(HEADROOM);
        let record = Record { identity, meta, data: Record::sum(self.secret, unit, data) };
        record.write(&mut header[HEADROOM - HEADER..], self.secret, unit);
        let written = self.storage.write_at(&buffer[HEADROOM - HEADER..], Self::offset(unit));
        if written.is_err() {
            self.release(unit, meta);
            return None;
        }
        Some(unit)
    }

    /// Reads the data of a page to the beginning of `to`, which is longer by [`HEADROOM`].
    pub(super) fn read<'a>(&self, identity: Identity, unit: u32, meta: Meta, to: &'a mut [u8]) -> Result<&'a [u8], Unread> {
        let whole = to.get_mut(..HEADER + meta.stored()).ok_or(Unread::Other)?;
        self.storage.read_at(whole, Self::offset(unit)).map_err(|_| Unread::Refused)?;
        let (header, data) = whole.split_at(HEADER);
        let expected = Record { identity, meta, data: Record::sum(self.secret, unit, data) };
        if Record::read(header, self.secret, unit) == Some(expected) { Ok(data) } else { Err(Unread::Other) }
    }

    /// Makes a record invalid, and its units free. After this a store that opens the file does not find the page.
    pub(super) fn release(&self, unit: u32, meta: Meta) {
        if self.storage.write_at(&[0; HEADER], Self::offset(unit)).is_err() {
            self.taint();
        }
        self.units.lock().give(unit, record::units(meta.stored()));
    }

    /// A record could not be made invalid: then the whole file has to be, for whoever opens it next.
    fn taint(&self) {
        // Relaxed: a report, and a wish not to write the same again.
        if self.tainted.load(Ordering::Relaxed) == 0 && self.storage.write_at(&[0; HEADER], 0).is_ok() {
            self.tainted.store(1, Ordering::Relaxed);
        }
    }

    /// Calls `each` with every page that the file has. Those for which it says no, and those of pools without names, are released.
    pub(super) fn scan(&self, mut each: impl FnMut(Found) -> bool) {
        let Ok(size) = self.storage.size() else { return };
        let mut buffer = [0; SCAN];
        let (mut from, mut next) = (0, UNIT as u64);
        while from < size {
            let len = usize::try_from(size - from).unwrap_or(SCAN).min(SCAN);
            // What cannot be read is not found; what is in units beyond the file's end neither.
            let read = self.storage.read_at(&mut buffer[..len], from).is_ok();
            for (number, bytes) in buffer[..len].chunks(UNIT).enumerate().filter(|_| read) {
                let at = from + (number * UNIT) as u64;
                let Ok(unit) = u32::try_from(at / UNIT as u64) else { return };
                let Some(record) = Record::read(bytes, self.secret, unit).filter(|_| at >= next) else { continue };
                let (identity, meta) = (record.identity, record.meta);
                let units = record::units(meta.stored());
                next = at + (units * UNIT) as u64;
                if !self.units.lock().claim(unit, units) {
                    let _ = self.storage.write_at(&[0; HEADER], at);
                } else if identity.uuid == Uuid::NIL || !each(Found { identity, unit, meta }) {
                    self.release(unit, meta);
                }
            }
            from += SCAN as u64;
        }
    }

    fn offset(unit: u32) -> u64 {
        u64::from(unit) * UNIT as u64
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> u64 {
        self.units.lock().used() as u64 * UNIT as u64
    }

    /// Bytes of memory for that.
    pub(super) fn bytes(&self) -> usize {
        self.units.lock().bytes()
    }

    /// Units of a page's record, for walks.
    pub(super) fn units(meta: Meta) -> usize {
        record::units(meta.stored())
    }

    /// Units in use, the header's included.
    pub(super) fn units_used(&self) -> usize {
        self.units.lock().used()
    }
}

/// When the machine was started, as a number; 0 if that is not known.
fn boot() -> u64 {
    std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |id| record::checksum(1, &id).max(1))
}

/// Codecs and shape: what has to be the same for data to be read.
fn fingerprint(settings: &Settings) -> u64 {
    let shape = match settings.shape {
        Shape::Pages(len) => len as u64,
        Shape::Buffers(_) => 0,
    };
    settings.codecs.iter().fold(shape, |sum, codec| record::checksum(sum, codec.name().as_bytes()))
}
