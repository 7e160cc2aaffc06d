//! The table of queue words, and what the restartable sequences need to know about it.
//!
//! One row per CPU id, [`CPU_ROW`] bytes apart, each laid out as
//!
//! ```text
//! | empties per order, stashed, lock | stash, idle mark per class | main, spare per slot | stash, idle mark per other slot | ...
//!   0                                  HEAD                         PAIRS                  MORE_STASHES
//! ```
//!
//! Main and spare lie side by side, so that one store of sixteen bytes can exchange them. What a program without caches of its own
//! touches of a row is on one OS page.

use super::word::Shape;
use crate::classes::{CLASSES, Class};
use crate::config::{CPU_ROW, CPU_ROW_SHIFT, MAX_CPUS, MAX_SLOTS, SHEAF_MAX_ORDER};
use crate::source::{PageSource, os_page};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, MODEL, Ordering, begin, const_fn, filled};
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};

/// A cache's place in every row: twice its number, as in [`Class`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u16);

impl Slot {
    /// Slot number `index`, below [`MAX_SLOTS`].
    #[inline(always)]
    #[must_use]
    pub const fn new(index: usize) -> Self {
        debug_assert!(index < MAX_SLOTS);
        Self(2 * index as u16)
    }

    /// The slot of a general cache: that of its class.
    #[inline(always)]
    #[must_use]
    pub const fn of(class: Class) -> Self {
        Self(class.doubled() as u16)
    }

    /// Its number.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize / 2
    }

    /// Twice that: the number of its first word in the row, and of its control's first word.
    #[inline(always)]
    #[allow(dead_code, reason = "the real sequences address by it")]
    pub(super) const fn doubled(self) -> usize {
        self.0 as usize
    }
}

/// One of the words that a slot, or a sheaf order, has in each row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Byte offset in the row.
    offset: u32,
    /// Number of the control that governs it: 0 is [`Table::fixed`], the slots' follow.
    control: u32,
}

impl Place {
    /// The sheaf that the fast path works on.
    #[inline(always)]
    #[must_use]
    pub const fn main(slot: Slot) -> Self {
        Self { offset: (PAIRS + 16 * slot.index()) as u32, control: slot.index() as u32 + 1 }
    }

    /// The one beside it.
    #[inline(always)]
    #[must_use]
    pub const fn spare(slot: Slot) -> Self {
        Self { offset: (PAIRS + 16 * slot.index() + 8) as u32, control: slot.index() as u32 + 1 }
    }

    /// Chain of full sheaves.
    #[inline(always)]
    pub(super) const fn stash(slot: Slot) -> Self {
        Self { offset: stash_at(slot) as u32, control: slot.index() as u32 + 1 }
    }

    /// Chain of empty blocks of one order.
    #[inline(always)]
    pub(super) const fn empties(order: usize) -> Self {
        Self { offset: 8 * order as u32, control: 0 }
    }

    /// Byte offset in the row.
    #[inline(always)]
    pub(super) const fn offset(self) -> usize {
        self.offset as usize
    }
}

/// Bytes of a row's header.
const HEAD: usize = 256;
/// Byte offset of the pairs of main and spare word in a row, for the sequences.
pub(super) const PAIRS: usize = HEAD + 16 * CLASSES;
const MORE_STASHES: usize = PAIRS + 16 * MAX_SLOTS;
/// Offset of the count of bytes that the row's stashes hold.
const STASHED: usize = 128;
/// Offset of a row's lock: a cache line of its own.
const LOCK: usize = 192;

/// Byte offset in the row of a slot's stash and idle mark.
const fn stash_at(slot: Slot) -> usize {
    let index = slot.index();
    if index < CLASSES { HEAD + 16 * index } else { MORE_STASHES + 16 * (index - CLASSES) }
}

/// What the sequences ask about a slot.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Control {
    /// Mask of the slot's sheaves; 0 makes every push take the slow path.
    pub(super) mask: AtomicU64,
    /// Even: sheaves may be installed. Changes when a drain begins and when it ends.
    pub(super) epoch: AtomicU32,
    /// `order << 16 | cap`.
    pub(super) shape: AtomicU32,
}

impl Control {
    const_fn! {
        const fn new() -> Self {
            Self { mask: AtomicU64::new(0), epoch: AtomicU32::new(0), shape: AtomicU32::new(0) }
        }
    }

    /// Its shape, for who holds the drain lock.
    pub(super) fn shape(&self) -> Shape {
        let packed = self.shape.load(Ordering::Relaxed);
        Shape { order: packed >> 16, cap: packed & 0xFFFF }
    }
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
    /// Rows that there is address space for.
    room: AtomicU32,
    pad: [u32; 23],
    /// Bytes of an object of each general cache's slot.
    sizes: [AtomicU32; CLASSES],
    /// Of what belongs to no slot: nothing drains it.
    fixed: Control,
    pub(super) controls: [Control; MAX_SLOTS],
    /// Bytes of an object of each other slot: apart, so that what every program touches is on one OS page.
    more_sizes: [AtomicU32; MAX_SLOTS - CLASSES],
}

/// Words of a row.
const WORDS: usize = (PAIRS + 16 * (2 * MAX_SLOTS - CLASSES)) / 8;

/// Byte offset of the mask of slot 0, for the sequences: the others follow sixteen bytes apart.
pub(super) const MASKS: usize = offset_of!(Table, controls) + offset_of!(Control, mask);

/// Byte offset of the epoch that governs `place`, for the sequences.
pub(super) const fn epoch_offset(place: Place) -> usize {
    offset_of!(Table, fixed) + place.control as usize * size_of::<Control>() + offset_of!(Control, epoch)
}

/// The offsets that the sequences are written with.
const _: () = {
    assert!(offset_of!(Table, base) == 0 && offset_of!(Table, cs) == 8);
    assert!(offset_of!(Table, id) == 16 && offset_of!(Table, cpus) == 24);
    assert!(MODEL || size_of::<Control>() == 16);
    assert!(offset_of!(Table, controls) == offset_of!(Table, fixed) + size_of::<Control>());
    assert!(PAIRS.is_multiple_of(16));
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
                room: AtomicU32::new(0),
                pad: [0; 23],
                sizes: filled![AtomicU32::new(0); CLASSES],
                fixed: Control::new(),
                controls: filled![Control::new(); MAX_SLOTS],
                more_sizes: filled![AtomicU32::new(0); MAX_SLOTS - CLASSES],
            }
        }
    }

    /// Makes `cpus` rows, and reserves address space for as many as `most`. The base is aligned to the largest sheaf and has a null below it,
    /// which is never written.
    pub(super) fn map(&self, source: &dyn PageSource, cpus: u32, most: u32) -> bool {
        let cpus = cpus.clamp(1, MAX_CPUS);
        let most = most.clamp(cpus, MAX_CPUS);
        let (align, page) = (1_usize << SHEAF_MAX_ORDER, os_page());
        let bytes = |rows: u32| align.max(page) + rows as usize * CPU_ROW;
        let reserve = |rows: u32| Some((source.reserve(bytes(rows), page)?, rows));
        let Some((at, room)) = reserve(most).or_else(|| reserve(cpus)) else {
            return false;
        };
        // Cheaper than an aligned reservation: the first aligned place that is not its first.
        let skip = align - at.as_ptr().addr() % align;
        // SAFETY: inside the reservation just made, as `skip` is at least a page and at most `align`.
        let base = unsafe { at.as_ptr().add(skip) };
        // SAFETY: as above.
        if !unsafe { commit(source, base.sub(page), page + cpus as usize * CPU_ROW) } {
            // SAFETY: whole, and nothing is in it.
            unsafe { source.unmap(at, bytes(room)) };
            return false;
        }
        self.base.store(base, Ordering::Relaxed);
        self.room.store(room, Ordering::Relaxed);
        self.begin(0, cpus);
        true
    }

    /// Makes more rows, `cpus` in all, if there are room and memory for them. While no drain runs.
    pub(super) fn extend(&self, source: &dyn PageSource, cpus: u32) {
        let (old, new) = (self.cpus(), cpus.min(self.room.load(Ordering::Relaxed)));
        // SAFETY: the rest of what was reserved; never unmapped.
        if old < new && unsafe { commit(source, self.base().add(old as usize * CPU_ROW), (new - old) as usize * CPU_ROW) } {
            self.begin(old, new);
        }
    }

    fn begin(&self, old: u32, new: u32) {
        for row in old..new {
            // SAFETY: they lie in the row, which was just made.
            unsafe { begin(core::ptr::from_ref(self.word(row, 0)).cast_mut(), WORDS, || AtomicU64::new(0)) };
        }
        // Release, for threads that see the row before they see anything else of this.
        self.cpus.store(new, Ordering::Release);
    }

    /// True if there is room for more rows.
    pub(super) fn has_room(&self) -> bool {
        self.cpus() < self.room.load(Ordering::Relaxed)
    }

    /// Gives up on more rows.
    pub(super) fn settle(&self) {
        self.room.store(self.cpus(), Ordering::Relaxed);
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

    /// Epoch of the control that governs `place`.
    pub(super) fn epoch(&self, place: Place) -> u32 {
        let control = place.control.checked_sub(1).map_or(&self.fixed, |index| &self.controls[index as usize]);
        control.epoch.load(Ordering::Relaxed)
    }

    /// Bytes of an object of `slot`.
    pub(super) fn size(&self, slot: Slot) -> &AtomicU32 {
        let index = slot.index();
        if index < CLASSES { &self.sizes[index] } else { &self.more_sizes[index - CLASSES] }
    }

    /// The word in which a decay pass remembers what it saw in `slot`'s main word.
    pub(super) fn idle_mark(&self, row: u32, slot: Slot) -> &AtomicU64 {
        self.word(row, stash_at(slot) + 8)
    }

    /// Bytes of objects in the stashes of row `row`, less than nothing while whoever takes counts before whoever put. Nobody may count in
    /// a row other than the one that holds the sheaf: that would never be made good.
    pub(super) fn stashed(&self, row: u32) -> &AtomicU64 {
        self.word(row, STASHED)
    }

    /// The lock of row `row`.
    pub(super) fn row_lock(&self, row: u32) -> &AtomicU64 {
        self.word(row, LOCK)
    }
}

/// # Safety
/// As [`PageSource::commit`].
unsafe fn commit(source: &dyn PageSource, at: *mut u8, len: usize) -> bool {
    // SAFETY: the caller's; a pointer into a reservation is not null.
    unsafe { source.commit(NonNull::new_unchecked(at), len) }
}
