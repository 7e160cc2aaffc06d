//! Restartable sequences where models run, for which the drain protocol and everything above it is the production source.
//!
//! A thread runs on the CPU that it was put on with [`run_on`]. Each CPU counts its interruptions, under a lock. A sequence notes the
//! count when it begins, and each of its later steps happens only if the count is still the same, in one piece with that comparison;
//! otherwise the sequence begins again. The last step is the committing store: a compare-and-swap on {word, epoch} in effect, except
//! that it does not compare the word, as the real one does not. What interrupts: [`barrier`], all CPUs; another thread that begins a
//! sequence on the CPU, that CPU.
//!
//! Faithful:
//!
//! * Between its steps a sequence can be overtaken by anybody on other CPUs, whose loads, stores and exchanges of the same word do not
//!   interrupt it. Its commit then overwrites what they stored, which is why a drain takes main words twice.
//! * The store of `push` into the sheaf is a step of its own, and happens even if the commit never does.
//! * Order between threads comes from the CPU's lock only: from one sequence on a CPU to the next on it, as from the scheduler, and
//!   between a barrier's caller and the sequences before and after it, as from `membarrier`. Everything else in a sequence is relaxed.
//!   (Only that it is armed, and the main word of `pop` and `push`, are acquired; every load is an acquiring one on x86-64.)
//! * Slots of sheaves are plain memory. The sequences note their accesses to it, and [`claimed`] notes those of an owner, so that two
//!   that nothing orders are an error even where the values happen to be right.
//!
//! Not covered:
//!
//! * The assembly itself, the abort handler and the registers; `percpu`'s and slubq's stress tests run those.
//! * A move to another CPU in the middle of a sequence, other than as an interruption. Moves between sequences are [`move_after`].
//! * Interruptions without a cause (signals, time slices). A sequence that is aborted and repeated for nothing has done nothing but
//!   its store into the sheaf, which it does again.
//! * Barriers that fail.

use super::super::table::{Control, MASKS, Place, Slot, Table};
use super::super::word::{Chain, Sheaf, Turns, Word};
use crate::sync::{AtomicU32, AtomicU64, Lazy, LocalKey, Mutex, MutexGuard, Ordering, UnsafeCell};
use core::cell::{Cell, RefCell};
use core::marker::PhantomData;
use core::ptr::null_mut;

/// CPUs of the modelled machine.
const CPUS: usize = 2;
/// Slots of sheaves that a model may touch.
const SLOTS: usize = 128;

#[derive(Debug, Default)]
struct Cpu {
    interruptions: u32,
    /// The thread that ran the last sequence here.
    thread: u32,
}

/// One address of plain memory and who accessed it.
type Watched = Option<(usize, UnsafeCell<()>)>;

struct Machine {
    cpus: [Mutex<Cpu>; CPUS],
    threads: Cell<u32>,
    watched: RefCell<[Watched; SLOTS]>,
}

// SAFETY: a model's threads take turns on one thread of the system, and no turn ends while a cell is borrowed.
unsafe impl Sync for Machine {}

/// The machine of the execution under way.
static MACHINE: Lazy<Machine> = Lazy { init: Machine::new, _p: PhantomData };

impl Machine {
    fn new() -> Self {
        Self {
            cpus: core::array::from_fn(|_| Mutex::new(Cpu::default())),
            threads: Cell::new(0),
            watched: RefCell::new([const { None }; SLOTS]),
        }
    }
}

/// Where a thread runs.
#[derive(Clone, Copy)]
struct Seat {
    thread: u32,
    cpu: u32,
    /// Looks at `cpu` until it becomes `then`.
    looks: u32,
    then: u32,
}

static SEAT: LocalKey<Cell<Seat>> = LocalKey { init: Seat::first, _p: PhantomData };

impl Seat {
    fn first() -> Cell<Self> {
        let threads = &MACHINE.get().threads;
        threads.set(threads.get() + 1);
        Cell::new(Self { thread: threads.get(), cpu: 0, looks: u32::MAX, then: 0 })
    }
}

fn seat<R>(f: impl FnOnce(&Cell<Seat>) -> R) -> R {
    SEAT.with(f)
}

/// Puts this thread on `cpu`. It starts on CPU 0.
pub fn run_on(cpu: u32) {
    seat(|seat| seat.set(Seat { cpu, looks: u32::MAX, ..seat.get() }));
}

/// Moves this thread to `cpu` once it has begun `sequences` more sequences, or looked for its row as often.
pub fn move_after(sequences: u32, cpu: u32) {
    seat(|seat| seat.set(Seat { looks: sequences, then: cpu, ..seat.get() }));
}

/// This thread, and its CPU at this moment.
fn look() -> (u32, u32) {
    seat(|seat| {
        let mut now = seat.get();
        if now.looks == 0 {
            now = Seat { cpu: now.then, looks: u32::MAX, ..now };
        }
        seat.set(Seat { looks: now.looks.saturating_sub(u32::from(now.looks != u32::MAX)), ..now });
        (now.thread, now.cpu)
    })
}

fn locked(cpu: u32) -> MutexGuard<'static, Cpu> {
    match MACHINE.get().cpus[cpu as usize].lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Notes an access to plain memory; an error if another one is neither before nor after it.
fn watch(address: usize, write: bool) {
    let mut watched = MACHINE.get().watched.borrow_mut();
    let at = watched.iter().position(|entry| entry.as_ref().is_none_or(|(known, _)| *known == address));
    debug_assert!(at.is_some(), "more plain memory than a model should touch");
    let Some(at) = at else { return };
    let (_, cell) = watched[at].get_or_insert_with(|| (address, UnsafeCell::new(())));
    if write { cell.with_mut(|_| ()) } else { cell.with(|_| ()) }
}

/// Notes that this thread alone reads and writes what `sheaf` holds from now on, until it gives it away.
pub fn claimed(sheaf: &Sheaf) {
    sheaf.objects().iter().for_each(|slot| watch(core::ptr::from_ref(slot).addr(), true));
}

/// A sequence that has begun.
struct Sequence {
    cpu: u32,
    interruptions: u32,
}

impl Sequence {
    /// Begins one, and reads what it reads of this thread's row. `None` if there are no restartable sequences, or no row.
    fn begin<R>(table: &Table, read: impl FnOnce(u32) -> R) -> Option<(Self, R)> {
        // Acquire pairs with the Release in `Table::arm`.
        if table.cs.load(Ordering::Acquire) == 0 {
            return None;
        }
        let (thread, row) = look();
        if row >= table.cpus() {
            return None;
        }
        let mut cpu = locked(row);
        if cpu.thread != thread {
            cpu.thread = thread;
            cpu.interruptions += 1;
        }
        let interruptions = cpu.interruptions;
        Some((Self { cpu: row, interruptions }, read(row)))
    }

    /// The next step; `None` if the sequence has been interrupted.
    fn step<R>(&self, step: impl FnOnce() -> R) -> Option<R> {
        let cpu = locked(self.cpu);
        (cpu.interruptions == self.interruptions).then(step)
    }
}

/// The slot of a sheaf at `offset` from the table's base.
fn slot_at(table: &Table, offset: u64) -> *mut *mut u8 {
    table.base().wrapping_add(offset as usize).cast()
}

/// What lies `offset` bytes into the table.
///
/// # Safety
/// A `T` does.
unsafe fn field<T>(table: &Table, offset: usize) -> &T {
    // SAFETY: the caller's.
    unsafe { &*core::ptr::from_ref(table).byte_add(offset).cast() }
}

fn epoch(table: &Table, control: usize) -> u32 {
    // SAFETY: the callers' offsets are those of epochs.
    unsafe { field::<AtomicU32>(table, control) }.load(Ordering::Relaxed)
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// The load of a main word by `pop` and `push`. Acquire: whoever prunes a sheaf puts its word back from another CPU.
fn load_main(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

/// The committing store. An exchange whose result nobody looks at, because of two unordered plain writes to a word loom may let the
/// one count as the earlier that came second, even if the other was an exchange that did not see it.
fn commit(word: &AtomicU64, new: u64) {
    let _overwritten = word.swap(new, Ordering::Relaxed);
}

/// As on x86-64.
pub(in crate::percpu) fn pop(table: &Table, slot: Slot) -> *mut u8 {
    loop {
        let word = |row| table.word(row, Place::main(slot).offset());
        let Some((sequence, (word, top))) = Sequence::begin(table, |row| (word(row), load_main(word(row)))) else {
            return null_mut();
        };
        let popped = sequence.step(|| {
            let below = slot_at(table, top.wrapping_sub(8));
            // The null below the table is never written.
            if top != 0 {
                watch(below.addr(), false);
            }
            // SAFETY: below the top of a sheaf, or of the table, lies an object or null; uninterrupted, the sheaf is this row's.
            let object = unsafe { below.read() };
            if !object.is_null() {
                commit(word, top.wrapping_sub(8));
            }
            object
        });
        if let Some(object) = popped {
            return object;
        }
    }
}

/// As on x86-64.
pub(in crate::percpu) fn push(table: &Table, slot: Slot, object: *mut u8) -> bool {
    loop {
        let word = |row| table.word(row, Place::main(slot).offset());
        // SAFETY: there the masks are.
        let mask = || load(unsafe { field(table, MASKS + size_of::<Control>() * slot.index()) });
        let Some((sequence, (word, top, mask))) = Sequence::begin(table, |row| (word(row), load_main(word(row)), mask())) else {
            return false;
        };
        if top & mask == 0 {
            return false;
        }
        let stored = sequence.step(|| {
            let free = slot_at(table, top);
            watch(free.addr(), true);
            // SAFETY: the sheaf has room; uninterrupted, it is this row's.
            unsafe { free.write(object) }
        });
        if stored.is_some() && sequence.step(|| commit(word, top.wrapping_add(8))).is_some() {
            return true;
        }
    }
}

/// The pair of words of `slot` in `row`, main first.
fn pair(table: &Table, slot: Slot, row: u32) -> (&AtomicU64, &AtomicU64) {
    (table.word(row, Place::main(slot).offset()), table.word(row, Place::spare(slot).offset()))
}

/// As on x86-64.
pub(in crate::percpu) fn rotate_pop(table: &Table, slot: Slot, control: usize, known: u32, old: Word, turns: Turns) -> *mut u8 {
    loop {
        let same = |row| epoch(table, control) == known && load(pair(table, slot, row).1) == old.0;
        let Some((sequence, ((main, spare), true))) = Sequence::begin(table, |row| (pair(table, slot, row), same(row))) else {
            return null_mut();
        };
        let popped = sequence.step(|| {
            let below = slot_at(table, old.top().wrapping_sub(8));
            if old.top() != 0 {
                watch(below.addr(), false);
            }
            // SAFETY: as in `pop`.
            let object = unsafe { below.read() };
            if !object.is_null() {
                let emptied = load(main);
                commit(main, old.top().wrapping_sub(8));
                commit(spare, emptied | turns.bits());
            }
            object
        });
        if let Some(object) = popped {
            return object;
        }
    }
}

/// As on x86-64.
pub(in crate::percpu) fn rotate_push(
    table: &Table,
    slot: Slot,
    control: usize,
    known: u32,
    old: Word,
    turns: Turns,
    object: *mut u8,
) -> bool {
    loop {
        let same = |row| epoch(table, control) == known && load(pair(table, slot, row).1) == old.0;
        let Some((sequence, ((main, spare), true))) = Sequence::begin(table, |row| (pair(table, slot, row), same(row))) else {
            return false;
        };
        let stored = sequence.step(|| {
            let free = slot_at(table, old.top());
            watch(free.addr(), true);
            // SAFETY: the sheaf has room; uninterrupted, it is this row's.
            unsafe { free.write(object) }
        });
        let committed = || {
            let full = load(main);
            commit(main, old.top().wrapping_add(8));
            commit(spare, full | turns.bits());
        };
        if stored.is_some() && sequence.step(committed).is_some() {
            return true;
        }
    }
}

/// As on x86-64.
pub(in crate::percpu) fn swap_if(table: &Table, off: usize, control: usize, known: u32, old: u64, new: u64) -> Option<u32> {
    loop {
        let read = |row| (row, epoch(table, control) == known && load(table.word(row, off)) == old);
        match Sequence::begin(table, read) {
            Some((sequence, (row, true))) => {
                if sequence.step(|| commit(table.word(row, off), new)).is_some() {
                    return Some(row);
                }
            }
            _ => return None,
        }
    }
}

/// As on x86-64.
pub(in crate::percpu) fn unchain(table: &Table, off: usize, control: usize, known: u32) -> Option<(u64, u32)> {
    loop {
        let read = |row| (row, if epoch(table, control) == known { load(table.word(row, off)) } else { 0 });
        let (sequence, (row, head)) = Sequence::begin(table, read)?;
        if head == 0 {
            return None;
        }
        let taken = sequence.step(|| {
            let link = Chain(head).block().cast::<u64>();
            // SAFETY: uninterrupted, the block is this row's chain's, and its first eight bytes are the link.
            commit(table.word(row, off), unsafe { link.read() });
        });
        if taken.is_some() {
            return Some((head, row));
        }
    }
}

/// The row of this thread right now.
pub(in crate::percpu) fn row(_table: &Table) -> u32 {
    look().1
}

/// Interrupts every CPU.
pub(in crate::percpu) fn barrier() -> bool {
    (0..CPUS as u32).for_each(|cpu| locked(cpu).interruptions += 1);
    true
}

/// There always are restartable sequences.
pub(in crate::percpu) fn detect() -> Option<super::Area> {
    Some(super::Area { cs: 8, id: 24 })
}
