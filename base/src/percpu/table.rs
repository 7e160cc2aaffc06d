//! The table of queue words, and what the restartable sequences need to know about it.
//!
//! One row per CPU id, [`CPU_ROW`] bytes apart, each laid out as
//!
//! ```text
//! | main word per slot | spare word per slot | stash chain per slot | idle mark per slot | empties per order | ... | lock |
//! ```

use crate::config::{CPU_ROW, CPU_ROW_SHIFT, MAX_CPUS, MAX_SLOTS, SHEAF_MAX_ORDER, SHEAF_ORDERS};
use crate::source::{PageSource, os_page};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, begin, const_fn, filled};
use core::mem::offset_of;
use core::ptr::null_mut;

/// A cache's place in every row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u16);

impl Slot {
    /// Slot number `index`, below [`MAX_SLOTS`].
    #[inline(always)]
    #[must_use]
    pub const fn new(index: usize) -> Self {
        debug_assert!(index < MAX_SLOTS);
        Self(index as u16)
    }

    /// Its number.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One of the words that a slot, or a sheaf order, has in each row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The sheaf that the fast path works on.
    Main(Slot),
    /// The one beside it.
    Spare(Slot),
    /// Chain of full sheaves.
    Stash(Slot),
    /// Chain of empty blocks of one order.
    Empties(usize),
}

impl Place {
    /// Byte offset in the row.
    #[inline(always)]
    pub(super) const fn offset(self) -> usize {
        8 * match self {
            Self::Main(slot) => slot.index(),
            Self::Spare(slot) => MAX_SLOTS + slot.index(),
            Self::Stash(slot) => 2 * MAX_SLOTS + slot.index(),
            Self::Empties(order) => 4 * MAX_SLOTS + order,
        }
    }

    /// Index of the control that governs it.
    pub(super) const fn control(self) -> usize {
        match self {
            Self::Main(slot) | Self::Spare(slot) | Self::Stash(slot) => slot.index(),
            Self::Empties(order) => MAX_SLOTS + order,
        }
    }
}

/// What the sequences ask about a slot.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Control {
    /// Even: sheaves may be installed. Changes when a drain begins and when it ends.
    pub(super) epoch: AtomicU32,
    /// `order << 16 | cap`.
    pub(super) shape: AtomicU32,
}

/// Read by every operation, written at boot (and `controls` by drains): on cache lines of its own.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Table {
    base: AtomicPtr<u8>,
    pub(super) cs: AtomicUsize,
    id: AtomicUsize,
    cpus: AtomicU32,
    locked: AtomicU32,
    pad: [usize; 12],
    /// Mask of each slot's sheaves; 0 makes every push take the slow path.
    pub(super) masks: [AtomicU64; MAX_SLOTS],
    pub(super) controls: [Control; MAX_SLOTS + SHEAF_ORDERS],
}

/// Words of a row, its lock not among them.
const WORDS: usize = 4 * MAX_SLOTS + SHEAF_ORDERS;

/// Byte offset of the masks, for the sequences.
pub(super) const MASKS: usize = offset_of!(Table, masks);

/// Byte offset of the epoch that governs `place`, for the sequences.
pub(super) const fn epoch_offset(place: Place) -> usize {
    offset_of!(Table, controls) + place.control() * size_of::<Control>()
}

/// The offsets that the sequences are written with.
const _: () = {
    assert!(offset_of!(Table, base) == 0 && offset_of!(Table, cs) == 8);
    assert!(offset_of!(Table, id) == 16 && offset_of!(Table, cpus) == 24);
    assert!(offset_of!(Control, epoch) == 0);
    assert!(CPU_ROW_SHIFT == 16);
};

impl Table {
    const_fn! {
        pub(super) const fn new() -> Self {
            Self {
                base: AtomicPtr::new(null_mut()),
                cs: AtomicUsize::new(0),
                id: AtomicUsize::new(0),
                cpus: AtomicU32::new(0),
                locked: AtomicU32::new(0),
                pad: [0; 12],
                masks: filled![AtomicU64::new(0); MAX_SLOTS],
                controls: filled![Control { epoch: AtomicU32::new(0), shape: AtomicU32::new(0) }; MAX_SLOTS + SHEAF_ORDERS],
            }
        }
    }

    /// Maps `cpus` rows. The base is aligned to the largest sheaf and has a null below it, which is never written.
    pub(super) fn map(&self, source: &dyn PageSource, cpus: u32) -> bool {
        let cpus = cpus.clamp(1, MAX_CPUS);
        let align = 1 << SHEAF_MAX_ORDER;
        let front = align.max(os_page());
        let Some(front_at) = source.map(front + cpus as usize * CPU_ROW, front) else {
            return false;
        };
        // SAFETY: inside the mapping just made, which is never unmapped.
        self.base.store(unsafe { front_at.as_ptr().add(front) }, Ordering::Relaxed);
        self.cpus.store(cpus, Ordering::Relaxed);
        for row in 0..cpus {
            // SAFETY: both lie in the row, which was just mapped.
            unsafe {
                begin(core::ptr::from_ref(self.word(row, 0)).cast_mut(), WORDS, || AtomicU64::new(0));
                begin(core::ptr::from_ref(self.row_lock(row)).cast_mut(), 1, || AtomicU64::new(0));
            }
        }
        true
    }

    /// Turns the restartable sequences on. Release, for threads that see the area before they see that the boot is done.
    pub(super) fn arm(&self, area: super::rseq::Area) {
        self.id.store(area.id, Ordering::Relaxed);
        self.cs.store(area.cs, Ordering::Release);
    }

    /// Turns the locked rows on.
    pub(super) fn arm_locked(&self) {
        self.locked.store(1, Ordering::Release);
    }

    /// True if rows are locked instead of restarted.
    #[inline]
    pub(super) fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed) != 0
    }

    /// What words are relative to.
    #[inline]
    pub(super) fn base(&self) -> *mut u8 {
        self.base.load(Ordering::Relaxed)
    }

    /// Rows.
    #[inline]
    pub(super) fn cpus(&self) -> u32 {
        self.cpus.load(Ordering::Relaxed)
    }

    /// The word `offset` bytes into row `row`; `row` is below [`Self::cpus`].
    #[inline]
    pub(super) fn word(&self, row: u32, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the table, which is never unmapped; every word of it is only accessed atomically.
        unsafe { &*self.base().add(((row as usize) << CPU_ROW_SHIFT) + offset).cast() }
    }

    /// The word in which a decay pass remembers what it saw in `slot`'s main word.
    pub(super) fn idle_mark(&self, row: u32, slot: Slot) -> &AtomicU64 {
        self.word(row, 8 * (3 * MAX_SLOTS + slot.index()))
    }

    /// The lock of row `row`, on a cache line of its own.
    pub(super) fn row_lock(&self, row: u32) -> &AtomicU64 {
        self.word(row, CPU_ROW - 64)
    }
}
