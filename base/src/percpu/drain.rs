//! Taking sheaves out of other CPUs' rows.
//!
//! The protocol, under one lock:
//!
//! 1. The slot's epoch becomes odd. `swap_if` and `unchain` compare the epoch inside their sequences.
//! 2. A barrier aborts every sequence that was running, so that from here on nothing is installed in the slot, nor taken from its
//!    spare or stash.
//! 3. Each word is exchanged for 0. Only a main word can still change, by a push or pop that was under way on that row: such a one
//!    commits the word of the same sheaf again. So after another barrier a main word that is no longer 0 is taken anew, and what was
//!    taken last is the truth.
//! 4. The shape may change. The epoch becomes even.

use super::table::{Place, Slot};
use super::word::{Chain, Shape, Sheaf, Word};
use super::{PerCpu, Row, rseq};
use crate::config::SHEAF_ORDERS;
use crate::sync::{Ordering, relax};

/// Which rows a drain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// All of them.
    Any,
    /// Those in which the slot's main word is what the last pass saw.
    Untouched,
}

/// Rows whose main words are taken with one barrier.
pub(super) const ROWS_AT_ONCE: usize = 64;

impl PerCpu {
    /// Takes the sheaves of `slot` out of every row that `which` selects and hands them to `sink`. False if running sequences cannot be
    /// interrupted: then nothing has happened.
    pub fn drain(&self, slot: Slot, which: Idle, sink: impl FnMut(Sheaf)) -> bool {
        self.drain_and(slot, which, || true, sink, |_| None)
    }

    /// The same if the slot is `still` what the caller thinks it is, asked where no other drain runs. Then, while nothing can be
    /// installed yet, `settle` clears what else holds sheaves of the slot's shape, and says what shape they have from now on.
    pub fn drain_and(
        &self,
        slot: Slot,
        which: Idle,
        still: impl FnOnce() -> bool,
        mut sink: impl FnMut(Sheaf),
        settle: impl FnOnce(Shape) -> Option<Shape>,
    ) -> bool {
        let _one_at_a_time = self.drain.lock();
        if !still() {
            return false;
        }
        let control = &self.table.controls[slot.index()];
        let shape = control.shape();
        // Release: whoever sees the new epoch sees nothing older.
        control.epoch.fetch_add(1, Ordering::Release);
        // Where there are no queues there is nothing to interrupt: whoever could install a sheaf holds a lease of an older epoch, and the
        // drain that took the queues away has stopped its sequence.
        let interrupted = shape.cap == 0 || self.interrupt();
        if interrupted && shape.cap > 0 {
            self.take_all(slot, shape, which, &mut sink);
        }
        if interrupted && let Some(shape) = settle(shape) {
            self.reshape(slot, shape);
        }
        // Release pairs with the Acquire in `lease`: the new epoch comes with the new shape.
        control.epoch.fetch_add(1, Ordering::Release);
        interrupted
    }

    /// Calls `f` while no drain can run.
    pub fn undrained<R>(&self, f: impl FnOnce() -> R) -> R {
        let _no_drain = self.drain.lock();
        f()
    }

    pub(super) fn interrupt(&self) -> bool {
        self.table.is_locked() || rseq::barrier()
    }

    fn take_all(&self, slot: Slot, shape: Shape, which: Idle, sink: &mut impl FnMut(Sheaf)) {
        let mut first = 0;
        while first < self.cpus() {
            let rows = first..self.cpus().min(first + ROWS_AT_ONCE as u32);
            let mut mains = [Word::NONE; ROWS_AT_ONCE];
            self.take_mains(slot, rows.clone(), &|row| which == Idle::Any || self.is_untouched(row, slot), &mut mains);
            for (row, main) in rows.clone().zip(mains) {
                // Where the main sheaf was left alone, so is the rest of the row.
                if which == Idle::Untouched && main.is_none() && !self.is_untouched(row, slot) {
                    continue;
                }
                let spare = self.exchange(row, Place::spare(slot));
                for word in [main, Word(spare)] {
                    // SAFETY: taken out by the protocol, so ours, and of the slot's shape.
                    if let Some(sheaf) = unsafe { Sheaf::from_word(word, self.base(), shape) } {
                        sink(sheaf);
                    }
                }
                let chain = Chain(self.exchange(row, Place::stash(slot)));
                self.table.stashed(row).fetch_sub(chain.len() * self.weight(slot, shape), Ordering::Relaxed);
                self.take_chain(chain, shape, sink);
            }
            first = rows.end;
        }
    }

    /// Step 3 for main words.
    pub(super) fn take_mains(
        &self,
        slot: Slot,
        rows: core::ops::Range<u32>,
        wanted: &impl Fn(u32) -> bool,
        mains: &mut [Word; ROWS_AT_ONCE],
    ) {
        let mut selected = [false; ROWS_AT_ONCE];
        for (row, selected) in rows.clone().zip(&mut selected) {
            *selected = wanted(row);
        }
        loop {
            let mut taken = false;
            for ((row, main), selected) in rows.clone().zip(mains.iter_mut()).zip(selected) {
                let word = if selected { self.exchange(row, Place::main(slot)) } else { 0 };
                if word != 0 {
                    *main = Word(word);
                    taken = true;
                }
            }
            if !taken || self.table.is_locked() {
                return;
            }
            // It worked a moment ago; what is taken must not be used before it has worked again.
            let mut round = 0;
            while !self.interrupt() {
                relax(&mut round);
            }
        }
    }

    pub(super) fn exchange(&self, row: u32, place: Place) -> u64 {
        let _row = self.table.is_locked().then(|| Row::wait(&self.table, row));
        let word = self.table.word(row, place.offset());
        // Rows of CPUs that the process never ran on stay without memory. A word that is 0 stays so: nothing is installed during a drain.
        if word.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        // Acquire: the sheaf's contents were written before the word.
        word.swap(0, Ordering::AcqRel)
    }

    fn take_chain(&self, mut chain: Chain, shape: Shape, sink: &mut impl FnMut(Sheaf)) {
        while chain.len() != 0 {
            let block = chain.block();
            // SAFETY: the chain is ours; a chained block's first eight bytes are the link.
            chain = Chain(unsafe { block.cast::<u64>().read() });
            // SAFETY: a stashed block holds a full sheaf.
            sink(unsafe { Sheaf::from_full(block, shape) });
        }
    }

    /// True if the slot has something in that row and its main word has not changed since [`Self::mark`].
    pub(super) fn is_untouched(&self, row: u32, slot: Slot) -> bool {
        let main = self.table.word(row, Place::main(slot).offset()).load(Ordering::Relaxed);
        self.holds(row, slot) && main == self.table.idle_mark(row, slot).load(Ordering::Relaxed)
    }

    /// True if the slot has a sheaf in that row, if only an empty one.
    fn holds(&self, row: u32, slot: Slot) -> bool {
        let read = |place: Place| self.table.word(row, place.offset()).load(Ordering::Relaxed);
        !Word(read(Place::main(slot)) | read(Place::spare(slot))).is_none() || read(Place::stash(slot)) != 0
    }

    /// True if the slot has a sheaf in some row: as long as that is so, a push may go by without a slow path.
    #[must_use]
    pub fn holds_any(&self, slot: Slot) -> bool {
        (0..self.cpus()).any(|row| self.holds(row, slot))
    }

    /// True if some row has something of `slot` that has not been touched since [`Self::mark`].
    #[must_use]
    pub fn has_idle(&self, slot: Slot) -> bool {
        (0..self.cpus()).any(|row| self.is_untouched(row, slot))
    }

    /// Remembers every row's main word of `slot`, for [`Idle::Untouched`].
    pub fn mark(&self, slot: Slot) {
        for row in 0..self.cpus() {
            let main = self.table.word(row, Place::main(slot).offset()).load(Ordering::Relaxed);
            let mark = self.table.idle_mark(row, slot);
            if mark.load(Ordering::Relaxed) != main {
                mark.store(main, Ordering::Relaxed);
            }
        }
    }

    /// Sets the shape of a slot that has never had one, and whose objects are `size` bytes; nothing of it can be in use. `cap` 0 means no
    /// queues.
    pub fn shape_first(&self, slot: Slot, shape: Shape, size: u32) {
        self.table.size(slot).store(size, Ordering::Relaxed);
        self.reshape(slot, shape);
        // Release pairs with the Acquire in `lease`.
        self.table.controls[slot.index()].epoch.fetch_add(2, Ordering::Release);
    }

    fn reshape(&self, slot: Slot, shape: Shape) {
        let control = &self.table.controls[slot.index()];
        // Release pairs with the Acquire in `lease`: who sees the new shape sees the odd epoch before it.
        control.shape.store(shape.order << 16 | shape.cap, Ordering::Release);
        control.mask.store(if shape.cap == 0 { 0 } else { shape.mask() }, Ordering::Relaxed);
    }

    /// Objects that the queues of `slot` hold, at some moment around now. Exact when nothing runs.
    #[must_use]
    pub fn queued(&self, slot: Slot) -> usize {
        let lease = self.lease(slot);
        let Some(shape) = lease.shape() else { return 0 };
        let held = |row, place: Place| Word(self.table.word(row, place.offset()).load(Ordering::Relaxed)).len(shape) as usize;
        (0..self.cpus())
            .map(|row| {
                let stash = Chain(self.table.word(row, Place::stash(slot).offset()).load(Ordering::Relaxed));
                held(row, Place::main(slot)) + held(row, Place::spare(slot)) + stash.len() as usize * shape.cap as usize
            })
            .sum()
    }

    /// Every word's sheaf is no fuller than it can be, and there are no more orders than places for them. Exact when nothing runs.
    #[must_use]
    pub fn check(&self, slot: Slot) -> bool {
        let Some(shape) = self.lease(slot).shape() else {
            return true;
        };
        let fits = |row, place: Place| Word(self.table.word(row, place.offset()).load(Ordering::Relaxed)).len(shape) <= shape.cap;
        shape.order_index() < SHEAF_ORDERS
            && (0..self.cpus()).all(|row| fits(row, Place::main(slot)) && fits(row, Place::spare(slot)))
    }
}
