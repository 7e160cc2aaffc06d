//! Taking some objects out of other CPUs' main sheaves and leaving the rest where it was: SLAB's reaper takes a fifth of an idle array.

use super::drain::ROWS_AT_ONCE;
use super::table::{Place, Slot};
use super::word::{Shape, Sheaf, Word};
use super::{PerCpu, Row};
use crate::sync::Ordering;

/// Calls what it is called with once per sheaf, with the sheaf's objects.
pub type EachSheaf<'a> = dyn Fn(&mut dyn FnMut(&[*mut u8])) + 'a;

/// Words that are out of their rows for a look at them, and those of the rows before.
struct Taken<'a> {
    mains: [Word; ROWS_AT_ONCE],
    spares: [Word; ROWS_AT_ONCE],
    before: Option<&'a Taken<'a>>,
}

impl PerCpu {
    /// Hands the main sheaf of `slot` in each of `rows` to `prune`, and puts back what that returns: the same sheaf, or none. Rows that have changed since [`Self::mark`] are left
    /// alone. False if running sequences cannot be interrupted, or the slot is not `still` what the caller thinks it is: then nothing
    /// has happened.
    ///
    /// The protocol is that of a drain. While the epoch is odd nobody installs a sheaf, and once the mains are taken for good no push or
    /// pop is under way on them: so a plain store puts a word back, and pushes and pops go on from it at once.
    pub fn prune(
        &self,
        slot: Slot,
        rows: impl Fn(u32) -> bool,
        still: impl FnOnce() -> bool,
        mut prune: impl FnMut(Sheaf) -> Option<Sheaf>,
    ) -> bool {
        self.while_stopped(slot, still, |shape| self.prune_rows(slot, shape, &rows, &mut prune))
    }

    /// Calls `look` with the main and spare sheaves of `slot`, which are out of their rows meanwhile: it is given something that calls back
    /// with each sheaf's objects, as often as it is called. The rest is as for [`Self::prune`]. Takes a KiB of stack for 64 rows.
    pub fn look(&self, slot: Slot, still: impl FnOnce() -> bool, look: impl FnOnce(&EachSheaf<'_>)) -> bool {
        self.while_stopped(slot, still, |shape| self.look_from(0, slot, shape, None, look))
    }

    /// Takes what rows from `first` on have, calls `look` with that and what was `taken` before, and puts it back.
    fn look_from(&self, first: u32, slot: Slot, shape: Shape, taken: Option<&Taken<'_>>, look: impl FnOnce(&EachSheaf<'_>)) {
        if first >= self.cpus() {
            return look(&|each| self.each_taken(shape, taken, each));
        }
        let rows = first..self.cpus().min(first + ROWS_AT_ONCE as u32);
        let mut here = Taken { mains: [Word::NONE; ROWS_AT_ONCE], spares: [Word::NONE; ROWS_AT_ONCE], before: taken };
        self.take_mains(slot, rows.clone(), &|_| true, &mut here.mains);
        rows.clone().zip(&mut here.spares).for_each(|(row, spare)| *spare = Word(self.exchange(row, Place::spare(slot))));
        self.look_from(rows.end, slot, shape, Some(&here), look);
        for ((row, main), spare) in rows.zip(here.mains).zip(here.spares) {
            self.put_back(row, Place::main(slot), main);
            self.put_back(row, Place::spare(slot), spare);
        }
    }

    fn each_taken(&self, shape: Shape, mut taken: Option<&Taken<'_>>, each: &mut dyn FnMut(&[*mut u8])) {
        while let Some(Taken { mains, spares, before }) = taken {
            for word in mains.iter().chain(spares) {
                // SAFETY: taken out by the protocol, so ours, and of the slot's shape; only looked at before it goes back.
                if let Some(sheaf) = unsafe { Sheaf::from_word(*word, self.base(), shape) } {
                    each(sheaf.objects());
                }
            }
            taken = *before;
        }
    }

    /// Calls `f` with the slot's shape while nobody can install a sheaf. False if it was not called.
    fn while_stopped(&self, slot: Slot, still: impl FnOnce() -> bool, f: impl FnOnce(Shape)) -> bool {
        let _one_at_a_time = self.drain.lock();
        if !still() {
            return false;
        }
        let control = &self.table.controls[slot.index()];
        let shape = control.shape();
        // Release: whoever sees the new epoch sees nothing older.
        control.epoch.fetch_add(1, Ordering::Release);
        // Where there are no queues there is nothing to interrupt.
        let interrupted = shape.cap == 0 || self.interrupt();
        if interrupted {
            f(shape);
        }
        // Release pairs with the Acquire in `lease`.
        control.epoch.fetch_add(1, Ordering::Release);
        interrupted
    }

    fn prune_rows(&self, slot: Slot, shape: Shape, wanted: &impl Fn(u32) -> bool, prune: &mut impl FnMut(Sheaf) -> Option<Sheaf>) {
        let mut first = 0;
        while first < self.cpus() {
            let rows = first..self.cpus().min(first + ROWS_AT_ONCE as u32);
            let mut mains = [Word::NONE; ROWS_AT_ONCE];
            self.take_mains(slot, rows.clone(), &|row| wanted(row) && self.is_untouched(row, slot), &mut mains);
            for (row, main) in rows.clone().zip(mains) {
                // SAFETY: taken out by the protocol, so ours, and of the slot's shape.
                let sheaf = unsafe { Sheaf::from_word(main, self.base(), shape) };
                if let Some(left) = sheaf.and_then(&mut *prune) {
                    self.put_back(row, Place::main(slot), left.into_word(self.base()));
                }
            }
            first = rows.end;
        }
    }

    fn put_back(&self, row: u32, place: Place, sheaf: Word) {
        if sheaf.is_none() {
            return;
        }
        let _row = self.table.is_locked().then(|| Row::wait(&self.table, row));
        let word = self.table.word(row, place.offset());
        // Where rows are locked, a push may have begun nothing: an odd epoch keeps everybody from installing there, too.
        debug_assert_eq!(word.load(Ordering::Relaxed), 0);
        // Release: the sheaf's contents before its word. Pairs with the load of a push or pop on that CPU, which depends on it.
        word.store(sheaf.0, Ordering::Release);
    }
}
