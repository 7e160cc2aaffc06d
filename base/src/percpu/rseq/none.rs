//! Where there are no restartable sequences: the fast paths do nothing, and everything goes through the locked rows.

use super::super::table::{Slot, Table};
use super::super::word::{Turns, Word};
use core::ptr::null_mut;

/// Never has an object.
#[inline(always)]
pub(in crate::percpu) fn pop(_table: &Table, _slot: Slot) -> *mut u8 {
    null_mut()
}

/// Never has room.
#[inline(always)]
pub(in crate::percpu) fn push(_table: &Table, _slot: Slot, _object: *mut u8) -> bool {
    false
}

/// Never succeeds.
pub(in crate::percpu) fn rotate_pop(_: &Table, _: Slot, _: usize, _: u32, _: Word, _: Turns) -> *mut u8 {
    null_mut()
}

/// Never succeeds.
pub(in crate::percpu) fn rotate_push(_: &Table, _: Slot, _: usize, _: u32, _: Word, _: Turns, _: *mut u8) -> bool {
    false
}

/// Never succeeds.
pub(in crate::percpu) fn swap_if(_table: &Table, _off: usize, _control: usize, _epoch: u32, _old: u64, _new: u64) -> Option<u32> {
    None
}

/// Always empty.
pub(in crate::percpu) fn unchain(_table: &Table, _off: usize, _control: usize, _epoch: u32) -> Option<(u64, u32)> {
    None
}

/// No row.
pub(in crate::percpu) fn row(_table: &Table) -> u32 {
    u32::MAX
}

/// Nothing is ever in flight.
pub(in crate::percpu) fn barrier() -> bool {
    true
}

/// What [`super::detect`] finds here.
pub(in crate::percpu) fn detect() -> Option<super::Area> {
    None
}
