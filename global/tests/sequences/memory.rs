//! The memory that interpreted code sees: parts of this process's, and an area for restartable sequences that the kernel does not
//! know. Everything else is out of bounds, and every store is kept in a list.

use std::cell::Cell;
use std::ops::Range;
use std::ptr::with_exposed_provenance_mut;

/// Offsets in `struct rseq`.
const CPU_ID: usize = 4;
const RSEQ_CS: usize = 8;
const MM_CID: usize = 24;

/// A store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Store {
    /// Address of the instruction.
    pub(crate) by: u64,
    pub(crate) at: u64,
    pub(crate) size: usize,
    /// The row that the thread was on.
    pub(crate) row: u32,
}

pub(crate) struct Memory {
    /// Code and constants, and the thread's stack.
    private: [Range<u64>; 2],
    readable: Vec<Range<u64>>,
    writable: Vec<Range<u64>>,
    /// Where the area is, relative to the thread pointer.
    offset: u64,
    area: [u8; 32],
    pub(crate) stores: Vec<Store>,
    /// Since it was last asked, something was touched that others could see change, or change.
    touched: Cell<bool>,
}

impl Memory {
    /// With an image that can be read, a stack, and what else can be read and written.
    ///
    /// # Safety
    /// The ranges are exposed memory of this process that lives on, and of which nobody else has the writable ones in use.
    pub(crate) unsafe fn new(
        private: [Range<u64>; 2],
        mut readable: Vec<Range<u64>>,
        mut writable: Vec<Range<u64>>,
        offset: u64,
    ) -> Self {
        readable.push(private[0].clone());
        writable.push(private[1].clone());
        Self { private, readable, writable, offset, area: [0; 32], stores: Vec::new(), touched: Cell::new(false) }
    }

    /// True if, since the last time, something was loaded or stored that is not the thread's alone.
    pub(crate) fn take_touched(&self) -> bool {
        self.touched.replace(false)
    }

    fn touch(&self, at: u64) {
        if !self.private.iter().any(|range| range.contains(&at)) {
            self.touched.set(true);
        }
    }

    /// The id that names the thread's row.
    pub(crate) fn row(&self) -> u32 {
        u32::from_le_bytes(self.area[CPU_ID..CPU_ID + 4].try_into().unwrap())
    }

    pub(crate) fn set_row(&mut self, row: u32) {
        self.area[CPU_ID..CPU_ID + 4].copy_from_slice(&row.to_le_bytes());
        self.area[MM_CID..MM_CID + 4].copy_from_slice(&row.to_le_bytes());
    }

    /// What the kernel finds in `rseq_cs`, and leaves there: nothing.
    pub(crate) fn take_armed(&mut self) -> u64 {
        let armed = u64::from_le_bytes(self.area[RSEQ_CS..RSEQ_CS + 8].try_into().unwrap());
        self.area[RSEQ_CS..RSEQ_CS + 8].fill(0);
        armed
    }

    pub(crate) fn load(&self, at: u64, size: usize) -> Result<u128, String> {
        let inside = |range: &Range<u64>| range.start <= at && at + size as u64 <= range.end;
        if !self.readable.iter().chain(&self.writable).any(inside) {
            return Err(format!("loads {size} bytes at {at:#x}, which is out of bounds"));
        }
        self.touch(at);
        let mut bytes = [0; 16];
        // SAFETY: inside memory that `new` was promised.
        unsafe { with_exposed_provenance_mut::<u8>(at as usize).copy_to(bytes.as_mut_ptr(), size) };
        Ok(u128::from_le_bytes(bytes))
    }

    pub(crate) fn store(&mut self, by: u64, at: u64, size: usize, value: u128) -> Result<(), String> {
        let inside = |range: &Range<u64>| range.start <= at && at + size as u64 <= range.end;
        if !self.writable.iter().any(inside) {
            return Err(format!("stores {size} bytes at {at:#x}, which is out of bounds"));
        }
        self.touch(at);
        self.stores.push(Store { by, at, size, row: self.row() });
        // SAFETY: inside memory that `new` was promised.
        unsafe { with_exposed_provenance_mut::<u8>(at as usize).copy_from(value.to_le_bytes().as_ptr(), size) };
        Ok(())
    }

    /// Loads relative to the thread pointer.
    pub(crate) fn load_local(&self, at: u64, size: usize) -> Result<u128, String> {
        let at = at.wrapping_sub(self.offset) as usize;
        self.touched.set(true);
        let known = matches!((at, size), (CPU_ID | MM_CID, 4));
        let word = || u128::from(u32::from_le_bytes(self.area[at..at + 4].try_into().unwrap()));
        known.then(word).ok_or_else(|| format!("loads {size} bytes at {at:#x} of the area"))
    }

    /// Stores relative to the thread pointer.
    pub(crate) fn store_local(&mut self, at: u64, size: usize, value: u128) -> Result<(), String> {
        let at = at.wrapping_sub(self.offset) as usize;
        if (at, size) != (RSEQ_CS, 8) {
            return Err(format!("stores {size} bytes at {at:#x} of the area"));
        }
        self.touched.set(true);
        self.area[at..at + 8].copy_from_slice(&value.to_le_bytes()[..8]);
        Ok(())
    }
}
