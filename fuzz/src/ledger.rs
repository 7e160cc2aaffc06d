//! A source of memory that keeps books: it holds the allocator to what `PageSource` asks of its callers, fails when told to, and takes
//! everything back in the end.

use kmem_base::source::{FaultySource, OsSource, PageSource};
use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

/// A mapping or reservation.
#[derive(Debug)]
struct Entry {
    at: NonNull<u8>,
    len: usize,
    /// Parts of a reservation that were committed; none in a mapping, which needs no commit.
    committed: Option<Vec<Range<usize>>>,
}

// SAFETY: an address and lengths.
unsafe impl Send for Entry {}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) faulty: FaultySource,
    entries: Mutex<BTreeMap<usize, Entry>>,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<usize, Entry>> {
        self.entries.lock().expect("no panic while the books are open")
    }

    fn enter(&self, at: NonNull<u8>, len: usize, committed: Option<Vec<Range<usize>>>) -> NonNull<u8> {
        let mut entries = self.entries();
        let before = entries.range(..at.addr().get() + len).next_back();
        let free = before.is_none_or(|(start, entry)| start + entry.len <= at.addr().get());
        assert!(free, "the system handed out an address twice: one was unmapped by the wrong length");
        entries.insert(at.addr().get(), Entry { at, len, committed });
        at
    }

    /// Faults unless `at .. at + len` is a whole mapping.
    fn expect_whole(&self, at: NonNull<u8>, len: usize) {
        let whole = self.entries().get(&at.addr().get()).map(|entry| entry.len);
        assert_eq!(whole, Some(len), "not a whole mapping: {at:?}");
    }

    /// Lengths of the mappings that are not reservations.
    pub(crate) fn mappings(&self) -> Vec<usize> {
        self.entries().values().filter(|entry| entry.committed.is_none()).map(|entry| entry.len).collect()
    }

    /// Gives everything back to the system.
    ///
    /// # Safety
    /// Nobody uses any of it.
    pub(crate) unsafe fn close(&self) {
        for entry in std::mem::take(&mut *self.entries()).into_values() {
            // SAFETY: a whole mapping or reservation, and dead.
            unsafe { OsSource.unmap(entry.at, entry.len) };
        }
    }
}

impl Entry {
    fn holds(&self, range: &Range<usize>) -> bool {
        let start = self.at.addr().get();
        start <= range.start && range.end <= start + self.len
    }

    /// True if every byte of `range` can be written.
    fn writable(&self, range: &Range<usize>) -> bool {
        let Some(committed) = &self.committed else { return self.holds(range) };
        let mut at = range.start;
        while at < range.end {
            match committed.iter().find(|part| part.contains(&at)) {
                Some(part) => at = part.end,
                None => return false,
            }
        }
        true
    }

    fn commit(&mut self, range: Range<usize>) {
        let Some(committed) = &mut self.committed else { return };
        match committed.iter_mut().find(|part| part.end == range.start) {
            Some(part) => part.end = range.end,
            None => committed.push(range),
        }
    }
}

fn range(at: NonNull<u8>, len: usize) -> Range<usize> {
    at.addr().get()..at.addr().get() + len
}

// SAFETY: forwards to a source that keeps the contract.
unsafe impl PageSource for Ledger {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        let at = self.faulty.reserve(len, align)?;
        Some(self.enter(at, len, Some(Vec::new())))
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        let range = range(at, len);
        let mut entries = self.entries();
        let entry = entries.range_mut(..=range.start).next_back().map(|(_, entry)| entry);
        let entry = entry.filter(|entry| entry.holds(&range) && entry.committed.is_some());
        let entry = entry.unwrap_or_else(|| panic!("committed, but not reserved: {range:x?}"));
        // SAFETY: the caller's promise, which was just checked.
        let done = unsafe { self.faulty.commit(at, len) };
        if done {
            entry.commit(range);
        }
        done
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        let at = self.faulty.map(len, align)?;
        Some(self.enter(at, len, None))
    }

    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize) {
        let range = range(at, len);
        let writable = self.entries().range(..=range.start).next_back().is_some_and(|(_, entry)| entry.writable(&range));
        assert!(writable, "advised, but not writable: {range:x?}");
        // SAFETY: the caller's promise, which was just checked.
        unsafe { self.faulty.advise_huge(at, len) };
    }

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        let range = range(at, len);
        let writable = self.entries().range(..=range.start).next_back().is_some_and(|(_, entry)| entry.writable(&range));
        assert!(writable, "purged, but not writable: {range:x?}");
        // SAFETY: the caller's promise, which was just checked but for the contents.
        unsafe { self.faulty.purge(at, len) }
    }

    unsafe fn remap(&self, at: NonNull<u8>, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
        self.expect_whole(at, old);
        // SAFETY: the caller's promise, which was just checked.
        let moved = unsafe { self.faulty.remap(at, old, new, may_move) }?;
        assert!(may_move || moved == at, "moved without leave");
        self.entries().remove(&at.addr().get());
        Some(self.enter(moved, new, None))
    }

    unsafe fn unmap(&self, at: NonNull<u8>, len: usize) {
        self.expect_whole(at, len);
        self.entries().remove(&at.addr().get());
        // SAFETY: the caller's promise, which was just checked.
        unsafe { self.faulty.unmap(at, len) };
    }
}
