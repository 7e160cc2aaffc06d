//! The portable fallback: the same words, each row behind a lock.
//!
//! A thread tries the row of the CPU it is on, then a few others, so that it seldom waits for a preempted holder.

use super::table::{Place, Slot, Table};
use super::whereabouts::cpu;
use super::word::{Chain, Turns, Word};
use crate::fault::{Fault, die};
use crate::sync::{Ordering, is_me, me, relax};
use core::ptr::null_mut;

/// A row that this thread holds.
pub(super) struct Row<'a> {
    table: &'a Table,
    row: u32,
}

const ATTEMPTS: u32 = 4;

impl<'a> Row<'a> {
    /// Takes a row near the CPU that this thread runs on.
    #[inline]
    pub(super) fn take(table: &'a Table) -> Self {
        let (cpu, cpus) = (cpu(), table.cpus());
        // A division is as slow as all the rest.
        let home = if cpu < cpus { cpu } else { cpu % cpus };
        if try_take(table, home, me()) { Self { table, row: home } } else { Self::take_near(table, home) }
    }

    #[cold]
    fn take_near(table: &'a Table, home: u32) -> Self {
        for attempt in 1..ATTEMPTS.min(table.cpus()) {
            let row = (home + attempt) % table.cpus();
            if try_take(table, row, me()) {
                return Self { table, row };
            }
        }
        Self::wait(table, home)
    }

    /// Takes row `row`.
    pub(super) fn wait(table: &'a Table, row: u32) -> Self {
        let mut round = 0;
        while !try_take(table, row, me()) {
            if is_me(holder(table, row)) {
                die(Fault::Interrupted, row as usize, "row");
            }
            relax(&mut round);
        }
        Self { table, row }
    }

    pub(super) fn number(&self) -> u32 {
        self.row
    }

    fn get(&self, offset: usize) -> u64 {
        self.table.word(self.row, offset).load(Ordering::Relaxed)
    }

    fn set(&self, offset: usize, value: u64) {
        self.table.word(self.row, offset).store(value, Ordering::Relaxed);
    }

    /// As the sequence of that name.
    pub(super) fn pop(&self, offset: usize) -> *mut u8 {
        let word = self.get(offset);
        // SAFETY: below the top of the sheaf, or of the table, lies an object or null.
        let object = unsafe { *self.table.base().wrapping_add((word as usize).wrapping_sub(8)).cast::<*mut u8>() };
        if object.is_null() {
            return null_mut();
        }
        self.set(offset, word.wrapping_sub(8));
        object
    }

    /// As the sequence of that name.
    pub(super) fn push(&self, slot: Slot, object: *mut u8) -> bool {
        let (offset, mask) = (Place::main(slot).offset(), self.table.controls[slot.index()].mask.load(Ordering::Relaxed));
        let word = self.get(offset);
        if word & mask == 0 {
            return false;
        }
        // SAFETY: the sheaf is not full, so its top is a slot.
        unsafe { *self.table.base().wrapping_add(word as usize).cast::<*mut u8>() = object };
        self.set(offset, word.wrapping_add(8));
        true
    }

    /// As the sequence of that name.
    pub(super) fn rotate_pop(&self, slot: Slot, epoch: u32, old: Word, turns: Turns) -> *mut u8 {
        let (main, spare) = (Place::main(slot), Place::spare(slot));
        if self.epoch(main) != epoch || self.get(spare.offset()) != old.0 {
            return null_mut();
        }
        // SAFETY: below the top of the sheaf, or of the table, lies an object or null.
        let object = unsafe { *self.top(old).wrapping_sub(1) };
        if !object.is_null() {
            let emptied = self.get(main.offset());
            self.set(main.offset(), old.top().wrapping_sub(8));
            self.set(spare.offset(), emptied | turns.bits());
        }
        object
    }

    /// As the sequence of that name.
    pub(super) fn rotate_push(&self, slot: Slot, epoch: u32, old: Word, turns: Turns, object: *mut u8) -> bool {
        let (main, spare) = (Place::main(slot), Place::spare(slot));
        if self.epoch(main) != epoch || self.get(spare.offset()) != old.0 {
            return false;
        }
        // SAFETY: the caller says that the spare sheaf is not full, so its top is a slot.
        unsafe { *self.top(old) = object };
        let full = self.get(main.offset());
        self.set(main.offset(), old.top().wrapping_add(8));
        self.set(spare.offset(), full | turns.bits());
        true
    }

    fn top(&self, word: Word) -> *mut *mut u8 {
        self.table.base().wrapping_add(word.top() as usize).cast()
    }

    /// As the sequence of that name.
    pub(super) fn swap_if(&self, place: Place, epoch: u32, old: Word, new: Word) -> bool {
        let same = self.epoch(place) == epoch && self.get(place.offset()) == old.0;
        if same {
            self.set(place.offset(), new.0);
        }
        same
    }

    /// As the sequence of that name.
    pub(super) fn unchain(&self, place: Place, epoch: u32) -> Option<u64> {
        let head = self.get(place.offset());
        if head == 0 || self.epoch(place) != epoch {
            return None;
        }
        // SAFETY: a chained block is the chain's, and its first eight bytes are the link.
        let next = unsafe { *Chain(head).block().cast::<u64>() };
        self.set(place.offset(), next);
        Some(head)
    }

    fn epoch(&self, place: Place) -> u32 {
        self.table.epoch(place)
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        release(self.table, self.row);
    }
}

/// Set beside the holder of a row that is held to fork: see [`crate::sync::Lock`].
const FORK: usize = 1;

fn try_take(table: &Table, row: u32, holder: usize) -> bool {
    // Acquire pairs with the Release of the last holder.
    table.row_lock(row).compare_exchange(0, holder as u64, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

fn holder(table: &Table, row: u32) -> usize {
    table.row_lock(row).load(Ordering::Relaxed) as usize
}

fn release(table: &Table, row: u32) {
    table.row_lock(row).store(0, Ordering::Release);
}

/// Takes row `row` to fork, unless this thread was interrupted while it held it.
pub(super) fn prepare_fork(table: &Table, row: u32) {
    let mut round = 0;
    while !try_take(table, row, me() | FORK) {
        if is_me(holder(table, row)) {
            return;
        }
        relax(&mut round);
    }
}

/// Releases it.
pub(super) fn after_fork(table: &Table, row: u32) {
    if holder(table, row) == me() | FORK {
        release(table, row);
    }
}
