//! Per-CPU queues.
//!
//! Each slot (a cache) has in each row (a CPU id) a main word and a spare word, standing for a sheaf each, and a chain of full
//! sheaves, the stash. The fast paths [`PerCpu::pop`] and [`PerCpu::push`] are one restartable sequence each; every slow path works on
//! sheaves that it owns and puts them in place with [`PerCpu::swap_if`].
//!
//! [`PerCpu::drain`] takes other CPUs' sheaves out. It begins a new, odd *epoch* for the slot: from then on nothing can be installed,
//! because `swap_if` compares the epoch inside its sequence; owners meanwhile find no sheaf, go to the slow path, and are served without
//! one. What a cache's sheaves look like may change only then.

mod blocks;
mod cpu;
mod drain;
#[cfg(all(not(loom), any(test, feature = "testing")))]
mod faked;
mod locked;
#[cfg(all(test, loom))]
mod loom_models;
#[cfg(all(loom, any(test, feature = "testing")))]
pub mod modelled;
mod own;
mod prune;
mod rseq;
mod table;
mod word;

pub use blocks::Blocks;
pub use drain::Idle;
#[cfg(all(not(loom), any(test, feature = "testing")))]
pub use faked::{fake_cpu, on_cpu};
pub use prune::EachSheaf;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom), any(test, feature = "testing")))]
pub use rseq::Barriers;
#[cfg(loom)]
pub use rseq::{claimed, move_after, run_on};
pub use table::{Place, Slot};
pub use word::{Shape, Sheaf, Turns, Way, Word};

/// What says which CPU a thread is on: in tests, whoever wants to.
#[cfg(any(loom, not(any(test, feature = "testing"))))]
use cpu as whereabouts;
#[cfg(all(not(loom), any(test, feature = "testing")))]
use faked as whereabouts;

/// The CPU that this thread ran on a moment ago.
pub(crate) use whereabouts::cpu as this_cpu;

use crate::source::PageSource;
use crate::sync::{Lock, Ordering, Rank, const_fn};
use locked::Row;
use table::Table;
use word::Chain;

/// How the rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not set up.
    Down,
    /// Restartable sequences.
    Restartable,
    /// A lock per row.
    Locked,
}

/// The per-CPU queues of one allocator.
#[derive(Debug)]
pub struct PerCpu {
    table: Table,
    drain: Lock<(), { Rank::Drain.of() }>,
}

/// What a slow path knows of a slot when it begins. Installing with it fails once a drain has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    slot: Slot,
    epoch: u32,
    shape: Shape,
}

impl Lease {
    /// Geometry of the slot's sheaves; `None` while it has no queues, or is being drained.
    #[must_use]
    pub fn shape(&self) -> Option<Shape> {
        (self.epoch.is_multiple_of(2) && self.shape.cap > 0).then_some(self.shape)
    }
}

impl PerCpu {
    const_fn! {
        /// No queues yet: every pop finds nothing and every push has no room.
        #[must_use]
        pub const fn new() -> Self {
            Self { table: Table::new(), drain: Lock::new(()) }
        }
    }

    /// Maps the rows and finds out how they can be kept. False if there is no memory.
    pub fn boot(&self, source: &dyn PageSource, cpus: u32, force_locked: bool) -> bool {
        self.boot_with_room(source, cpus, cpus, force_locked)
    }

    /// The same, with room for rows up to `most` in all: see [`Self::extend`].
    pub fn boot_with_room(&self, source: &dyn PageSource, cpus: u32, most: u32, force_locked: bool) -> bool {
        if !self.table.map(source, cpus, most) {
            return false;
        }
        match if force_locked { None } else { rseq::detect() } {
            Some(area) => self.table.arm(area),
            None => self.table.arm_locked(),
        }
        // This thread's row is the first to be used. Memory that was never written is mapped twice if it is read first.
        if let Some(row) = self.row() {
            self.table.stashed(row).store(0, Ordering::Relaxed);
        }
        true
    }

    /// True if there may be more rows than there are.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.table.has_room()
    }

    /// Makes as many rows as `cpus` says, once and for all: for a thread that is beyond those there are. Does nothing while a drain runs, as
    /// that must see every row; the caller may be the one who drains.
    #[cold]
    pub fn extend(&self, source: &dyn PageSource, cpus: impl FnOnce() -> u32) {
        let Some(_no_drain) = self.drain.try_lock() else { return };
        if self.table.has_room() {
            self.table.extend(source, cpus());
            self.table.settle();
        }
    }

    /// How the rows are kept.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match (self.table.cpus(), self.table.is_locked()) {
            (0, _) => Mode::Down,
            (_, true) => Mode::Locked,
            (_, false) => Mode::Restartable,
        }
    }

    /// Rows.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.table.cpus()
    }

    /// Takes an object from this CPU's main sheaf. Null if there is none, or no restartable sequences: then ask
    /// [`Self::pop_locked`]. About fifteen instructions, no atomics.
    #[inline(always)]
    #[must_use]
    pub fn pop(&self, slot: Slot) -> *mut u8 {
        rseq::pop(&self.table, slot)
    }

    /// Adds an object to this CPU's main sheaf. False if there is no room, or no restartable sequences: then ask
    /// [`Self::push_locked`].
    #[inline(always)]
    #[must_use]
    pub fn push(&self, slot: Slot, object: *mut u8) -> bool {
        rseq::push(&self.table, slot, object)
    }

    /// [`Self::pop`] where rows are locked; null elsewhere.
    #[inline]
    #[must_use]
    pub fn pop_locked(&self, slot: Slot) -> *mut u8 {
        if self.table.is_locked() { Row::take(&self.table).pop(Place::main(slot).offset()) } else { core::ptr::null_mut() }
    }

    /// [`Self::push`] where rows are locked; false elsewhere.
    #[inline]
    #[must_use]
    pub fn push_locked(&self, slot: Slot, object: *mut u8) -> bool {
        self.table.is_locked() && Row::take(&self.table).push(slot, object)
    }

    /// Begins a slow path on `slot`.
    #[inline]
    #[must_use]
    pub fn lease(&self, slot: Slot) -> Lease {
        let control = &self.table.controls[slot.index()];
        // Acquire pairs with the Release stores of a drain. The shape changes in odd epochs only, so that the same even epoch before
        // and after means that the shape is that epoch's.
        let epoch = control.epoch.load(Ordering::Acquire);
        let shape = control.shape.load(Ordering::Acquire);
        let again = control.epoch.load(Ordering::Relaxed);
        let shape = Shape { order: shape >> 16, cap: shape & 0xFFFF };
        Lease { slot, epoch: if epoch == again { epoch } else { 1 }, shape }
    }

    /// This thread's row, unless its CPU is beyond the table.
    #[inline]
    #[must_use]
    pub fn row(&self) -> Option<u32> {
        // Before the table is mapped there are no rows, whatever this says.
        let row = if self.table.is_locked() { Row::take(&self.table).number() } else { rseq::row(&self.table) };
        (row < self.table.cpus()).then_some(row)
    }

    /// What `place` of this CPU's row holds at some moment around now.
    #[inline]
    #[must_use]
    pub fn peek(&self, place: Place) -> Word {
        self.row().map_or(Word::NONE, |row| Word(self.table.word(row, place.offset()).load(Ordering::Relaxed)))
    }

    /// Replaces `old` by `new` in `place` of whichever row this thread is on, if it holds `old` and no drain has begun since the lease.
    /// Then whoever calls owns the sheaf of `old`, and no longer that of `new`.
    #[inline]
    #[must_use]
    pub fn swap_if(&self, lease: &Lease, place: Place, old: Word, new: Word) -> bool {
        self.swap_in(place, lease.epoch, old.0, new.0).is_some()
    }

    /// The same; returns the row that it happened in.
    #[inline]
    fn swap_in(&self, place: Place, epoch: u32, old: u64, new: u64) -> Option<u32> {
        if self.table.is_locked() {
            let row = Row::take(&self.table);
            return row.swap_if(place, epoch, Word(old), Word(new)).then(|| row.number());
        }
        rseq::swap_if(&self.table, place.offset(), table::epoch_offset(place), epoch, old, new)
    }

    /// Exchanges main and spare sheaf of `lease`'s slot for an allocation: takes an object from the spare one. Null unless the spare word
    /// is `spare`, with an object, and no drain has begun since the lease.
    #[inline]
    #[must_use]
    pub fn rotate_pop(&self, lease: &Lease, spare: Word, turns: Turns) -> *mut u8 {
        if lease.shape().is_none() {
            return core::ptr::null_mut();
        }
        if self.table.is_locked() {
            return Row::take(&self.table).rotate_pop(lease.slot, lease.epoch, spare, turns);
        }
        let control = table::epoch_offset(Place::main(lease.slot));
        rseq::rotate_pop(&self.table, lease.slot, control, lease.epoch, spare, turns)
    }

    /// The same for a free: adds `object` to the spare sheaf. False unless the spare word is `spare`, with room, and no drain has begun
    /// since the lease.
    #[inline]
    #[must_use]
    pub fn rotate_push(&self, lease: &Lease, spare: Word, turns: Turns, object: *mut u8) -> bool {
        if lease.shape().is_none_or(|shape| spare.is_full(shape)) {
            return false;
        }
        if self.table.is_locked() {
            return Row::take(&self.table).rotate_push(lease.slot, lease.epoch, spare, turns, object);
        }
        let control = table::epoch_offset(Place::main(lease.slot));
        rseq::rotate_push(&self.table, lease.slot, control, lease.epoch, spare, turns, object)
    }

    /// The base of every word.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.table.base()
    }

    /// Takes a full sheaf from this CPU's stash.
    #[inline]
    #[must_use]
    pub fn unstash(&self, lease: &Lease) -> Option<Sheaf> {
        lease.shape()?;
        let (head, row) = self.unchain(Place::stash(lease.slot), lease.epoch)?;
        self.table.stashed(row).fetch_sub(self.weight(lease.slot, lease.shape), Ordering::Relaxed);
        // SAFETY: a stashed block held a full sheaf of the lease's shape, and is now ours.
        Some(unsafe { Sheaf::from_full(head, lease.shape) })
    }

    /// Bytes of the objects in a full sheaf of `shape`.
    fn weight(&self, slot: Slot, shape: Shape) -> u64 {
        u64::from(self.table.size(slot).load(Ordering::Relaxed)) * u64::from(shape.cap)
    }

    /// Puts a full sheaf into this CPU's stash unless all its stashes then held more than `most` bytes of objects; gives it back
    /// otherwise.
    ///
    /// # Errors
    /// The sheaf, if there is no room or a drain has begun.
    #[inline]
    pub fn stash(&self, lease: &Lease, sheaf: Sheaf, most: u64) -> Result<(), Sheaf> {
        debug_assert!(sheaf.is_full());
        let Some(row) = self.row().filter(|_| lease.shape().is_some()) else { return Err(sheaf) };
        let weight = self.weight(lease.slot, lease.shape);
        if self.table.stashed(row).load(Ordering::Relaxed).wrapping_add(weight) as i64 > most as i64 {
            return Err(sheaf);
        }
        let block = sheaf.into_block();
        if let Some(row) = self.chain(Place::stash(lease.slot), lease.epoch, block, Chain::MOST) {
            // Where it went, which may be another row by now: or the counts would drift apart.
            self.table.stashed(row).fetch_add(weight, Ordering::Relaxed);
            return Ok(());
        }
        // SAFETY: the block is still ours and still holds a full sheaf.
        Err(unsafe { Sheaf::from_full(block, lease.shape) })
    }

    /// Takes the first block off a chain of this CPU's row, if there is one; and says which row that was.
    #[inline]
    fn unchain(&self, place: Place, epoch: u32) -> Option<(*mut u8, u32)> {
        let (head, row) = if self.table.is_locked() {
            let row = Row::take(&self.table);
            (row.unchain(place, epoch)?, row.number())
        } else {
            rseq::unchain(&self.table, place.offset(), table::epoch_offset(place), epoch)?
        };
        Some((Chain(head).block(), row))
    }

    /// Puts `block` on a chain of this CPU's row, unless it has `most` blocks. Returns the row if so.
    #[inline]
    fn chain(&self, place: Place, epoch: u32, block: *mut u8, most: u64) -> Option<u32> {
        let row = self.row()?;
        let chain = Chain(self.table.word(row, place.offset()).load(Ordering::Relaxed));
        if chain.len() >= most {
            return None;
        }
        // SAFETY: the block is ours until the swap succeeds.
        unsafe { block.cast::<u64>().write(chain.0) };
        self.swap_in(place, epoch, chain.0, chain.with(block).0)
    }

    /// Takes what `fork` must not find taken.
    pub fn prepare_fork(&self) {
        self.drain.acquire();
        if self.table.is_locked() {
            (0..self.table.cpus()).for_each(|row| locked::prepare_fork(&self.table, row));
        }
    }

    /// Releases it, in parent and child.
    ///
    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub unsafe fn after_fork(&self) {
        if self.table.is_locked() {
            (0..self.table.cpus()).for_each(|row| locked::after_fork(&self.table, row));
        }
        // SAFETY: the caller's.
        unsafe { self.drain.release() };
    }
}

impl Default for PerCpu {
    fn default() -> Self {
        Self::new()
    }
}
