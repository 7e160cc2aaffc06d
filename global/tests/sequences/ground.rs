//! Per-CPU queues of this process that only interpreted threads work on, and a model of what they hold.

use super::machine::Machine;
use super::memory::Memory;
use kmem_base::classes::CLASSES;
use kmem_base::config::CPU_ROW;
use kmem_base::percpu::{Idle, Lease, Mode, PerCpu, Place, Shape, Sheaf, Slot, Word};
use kmem_base::source::OsSource;
use std::alloc::{Layout, alloc_zeroed};
use std::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

/// Rows, and an id that has none.
pub(crate) const ROWS: u32 = 3;
pub(crate) const NOWHERE: u32 = ROWS;
/// A sheaf of three, above unused slots: a stash's link and the null are different words.
pub(crate) const SHAPE: Shape = Shape { order: 6, cap: 3 };
const SLOT: Slot = Slot::new(5);
/// Full sheaves that a stash may hold.
pub(crate) const MOST: usize = 2;
/// Bytes of an object, and of the objects of a full sheaf.
const SIZE: u32 = 24;
pub(crate) const WEIGHT: u64 = (SIZE * SHAPE.cap) as u64;
/// What the spare words remember at first.
const TURNS: u64 = 3;
/// In a row: the count of bytes in stashes, and where the stashes of the general caches and the pairs begin.
const STASHED: u64 = 128;
const STASHES: u64 = 256;
const PAIRS: u64 = STASHES + 16 * CLASSES as u64;
/// Of a chain's head, where the count begins.
const COUNT: u32 = 48;
const BLOCKS: usize = 16;
const STACK: usize = 64 << 10;

/// A sheaf: its block and its objects.
pub(crate) type Held = (u64, Vec<u64>);

/// What a row has in the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) main: Option<Held>,
    pub(crate) spare: Option<Held>,
    /// The low bits of the spare word.
    pub(crate) turns: u64,
    /// From below.
    pub(crate) stash: Vec<Held>,
}

/// What to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filling {
    /// Objects in the main sheaf, if there is one.
    pub(crate) main: Option<usize>,
    /// The same for the spare one.
    pub(crate) spare: Option<usize>,
    pub(crate) stash: usize,
}

pub(crate) struct Ground {
    percpu: &'static PerCpu,
    blocks: u64,
    lease: &'static mut Lease,
    stack: u64,
}

/// The functions that are interpreted.
pub(crate) mod entry {
    use super::*;

    pub(crate) extern "C" fn pop(percpu: &PerCpu) -> u64 {
        percpu.pop(SLOT).expose_provenance() as u64
    }

    pub(crate) extern "C" fn push(percpu: &PerCpu, object: u64) -> u64 {
        percpu.push(SLOT, with_exposed_provenance_mut(object as usize)).into()
    }

    pub(crate) extern "C" fn swap_if(percpu: &PerCpu, lease: &Lease, old: &Word, new: &Word) -> u64 {
        percpu.swap_if(lease, Place::main(SLOT), *old, *new).into()
    }

    pub(crate) extern "C" fn rotate_pop(percpu: &PerCpu, lease: &Lease, old: &Word, turns: &Word) -> u64 {
        percpu.rotate_pop(lease, *old, turns.turns()).expose_provenance() as u64
    }

    pub(crate) extern "C" fn rotate_push(percpu: &PerCpu, lease: &Lease, old: &Word, turns: &Word, object: u64) -> u64 {
        percpu.rotate_push(lease, *old, turns.turns(), with_exposed_provenance_mut(object as usize)).into()
    }

    pub(crate) extern "C" fn unstash(percpu: &PerCpu, lease: &Lease) -> u64 {
        percpu.unstash(lease).map_or(0, |sheaf| sheaf.into_block().expose_provenance() as u64)
    }

    pub(crate) extern "C" fn stash(percpu: &PerCpu, lease: &Lease, block: u64) -> u64 {
        // SAFETY: the ground has put a full sheaf there, and nobody else has it.
        let sheaf = unsafe { Sheaf::from_full(with_exposed_provenance_mut(block as usize), SHAPE) };
        match percpu.stash(lease, sheaf, MOST as u64 * WEIGHT) {
            Ok(()) => 1,
            Err(sheaf) => u64::from(sheaf.into_block().is_null()),
        }
    }
}

fn leak(size: usize) -> u64 {
    let layout = Layout::from_size_align(size, 4096).unwrap();
    // SAFETY: the size is not 0.
    let at = unsafe { alloc_zeroed(layout) };
    assert!(!at.is_null());
    at.expose_provenance() as u64
}

fn get(at: u64) -> u64 {
    // SAFETY: callers ask for words of the rows and of the blocks.
    unsafe { with_exposed_provenance::<u64>(at as usize).read() }
}

fn set(at: u64, value: u64) {
    // SAFETY: as above.
    unsafe { with_exposed_provenance_mut::<u64>(at as usize).write(value) }
}

impl Ground {
    /// `None` where there are no restartable sequences.
    pub(crate) fn new() -> Option<Self> {
        let percpu: &'static PerCpu = Box::leak(Box::new(PerCpu::new()));
        assert!(percpu.boot(&OsSource, ROWS, false));
        percpu.shape_first(SLOT, SHAPE, SIZE);
        percpu.base().expose_provenance();
        (&raw const *percpu).expose_provenance();
        let (blocks, stack) = (leak(BLOCKS << SHAPE.order), leak(STACK));
        let ground = Self { percpu, blocks, lease: Box::leak(Box::new(percpu.lease(SLOT))), stack };
        (percpu.mode() == Mode::Restartable).then_some(ground)
    }

    /// What interpreted code may touch. `image` is where the executable is loaded, `offset` where threads have their area.
    pub(crate) fn memory(&self, image: std::ops::Range<u64>, offset: u64) -> Memory {
        let (table, lease) = (self.percpu(), self.lease());
        let readable = vec![
            table..table + size_of::<PerCpu>() as u64,
            lease..lease + size_of::<Lease>() as u64,
            // The null below the first row.
            self.base() - 8..self.base(),
        ];
        let writable = vec![self.rows(), self.blocks..self.blocks + (BLOCKS << SHAPE.order) as u64];
        let private = [image, self.stack..self.stack + STACK as u64];
        // SAFETY: all of it is exposed and leaked; only interpreted threads, one at a time, and the ground use the rows.
        unsafe { Memory::new(private, readable, writable, offset) }
    }

    pub(crate) fn percpu(&self) -> u64 {
        (&raw const *self.percpu).addr() as u64
    }

    pub(crate) fn lease(&self) -> u64 {
        (&raw const *self.lease).expose_provenance() as u64
    }

    pub(crate) fn stack(&self) -> u64 {
        self.stack + STACK as u64 - 1024
    }

    /// Two words on the stack, for arguments that are passed by address.
    pub(crate) fn arguments(&self, values: [u64; 2]) -> [u64; 2] {
        let at = self.stack() + 512;
        set(at, values[0]);
        set(at + 8, values[1]);
        [at, at + 8]
    }

    fn base(&self) -> u64 {
        self.percpu.base().addr() as u64
    }

    pub(crate) fn rows(&self) -> std::ops::Range<u64> {
        self.base()..self.base() + u64::from(ROWS) * CPU_ROW as u64
    }

    pub(crate) fn is_stack(&self, at: u64) -> bool {
        (self.stack..self.stack + STACK as u64).contains(&at)
    }

    /// Address of the slot's main word in that row; the spare word lies behind it.
    pub(crate) fn main_at(&self, row: u32) -> u64 {
        self.base() + u64::from(row) * CPU_ROW as u64 + PAIRS + 16 * SLOT.index() as u64
    }

    fn spare_at(&self, row: u32) -> u64 {
        self.main_at(row) + 8
    }

    pub(crate) fn stash_at(&self, row: u32) -> u64 {
        self.base() + u64::from(row) * CPU_ROW as u64 + STASHES + 16 * SLOT.index() as u64
    }

    /// Address of the count of bytes that the row's stashes hold.
    pub(crate) fn stashed_at(&self, row: u32) -> u64 {
        self.base() + u64::from(row) * CPU_ROW as u64 + STASHED
    }

    /// What all rows count together.
    pub(crate) fn stashed(&self) -> i64 {
        (0..ROWS).map(|row| get(self.stashed_at(row)) as i64).sum()
    }

    fn block(&self, number: usize) -> u64 {
        self.blocks + (number << SHAPE.order) as u64
    }

    /// Fills the block `number` with that many objects, which are like no other block's.
    fn fill(&self, number: usize, count: usize) -> u64 {
        let block = self.block(number);
        (0..1 << (SHAPE.order - 3)).for_each(|at| set(block + 8 * at, 0xBAD0_0000 + 8 * at));
        set(block + 8 * SHAPE.sentinel() as u64, 0);
        for at in 0..count {
            set(block + 8 * (SHAPE.sentinel() + 1 + at) as u64, (0x1000 * (number + 1) + 8 * at) as u64);
        }
        block
    }

    /// The word of a sheaf.
    pub(crate) fn word(&self, sheaf: &Option<Held>) -> u64 {
        let top = |(block, objects): &Held| block + 8 * (SHAPE.sentinel() + 1 + objects.len()) as u64;
        sheaf.as_ref().map_or(0, |sheaf| top(sheaf).wrapping_sub(self.base()))
    }

    /// The spare word of a row.
    pub(crate) fn spare_word(&self, row: &Row) -> u64 {
        self.word(&row.spare) | row.turns
    }

    /// Address of the slot above the top of a sheaf.
    pub(crate) fn top_of(&self, sheaf: &Option<Held>) -> Option<u64> {
        sheaf.is_some().then(|| self.word(sheaf).wrapping_add(self.base()))
    }

    /// A sheaf that is in no row.
    pub(crate) fn fresh(&self, count: usize) -> Held {
        let block = self.fill(BLOCKS - 1, count);
        (block, self.objects(block, count))
    }

    fn objects(&self, block: u64, count: usize) -> Vec<u64> {
        assert_eq!(get(block + 8 * SHAPE.sentinel() as u64), 0, "the null of a sheaf");
        (0..count).map(|at| get(block + 8 * (SHAPE.sentinel() + 1 + at) as u64)).collect()
    }

    /// Puts sheaves into the rows and takes a lease; a stale one if a drain is to have been.
    pub(crate) fn begin(&mut self, fillings: &[Filling; ROWS as usize], stale: bool) -> Vec<Row> {
        *self.lease = self.percpu.lease(SLOT);
        if stale {
            self.drain();
        }
        let filled = |number: usize, count| {
            let block = self.fill(number, count);
            (block, self.objects(block, count))
        };
        let rows = |(row, filling): (usize, &Filling)| Row {
            main: filling.main.map(|count| filled(row, count)),
            spare: filling.spare.map(|count| filled(ROWS as usize + row, count)),
            turns: TURNS,
            stash: (0..filling.stash).map(|at| filled(2 * ROWS as usize + row * MOST + at, SHAPE.cap as usize)).collect(),
        };
        let rows: Vec<_> = fillings.iter().enumerate().map(rows).collect();
        (0..).zip(&rows).for_each(|(number, row)| self.put(number, row));
        rows
    }

    fn put(&self, number: u32, row: &Row) {
        set(self.main_at(number), self.word(&row.main));
        set(self.spare_at(number), self.spare_word(row));
        let head = |count: usize| row.stash[..count].last().map_or(0, |(block, _)| block | (count as u64) << COUNT);
        row.stash.iter().enumerate().for_each(|(below, (block, _))| set(*block, head(below)));
        set(self.stash_at(number), head(row.stash.len()));
        set(self.stashed_at(number), row.stash.len() as u64 * WEIGHT);
    }

    /// What the rows hold.
    pub(crate) fn look(&self) -> Vec<Row> {
        let row = |row| {
            let spare = get(self.spare_at(row));
            let (spare, turns) = (self.decode(spare & !7), spare & 7);
            Row { main: self.decode(get(self.main_at(row))), spare, turns, stash: self.chain(get(self.stash_at(row))) }
        };
        (0..ROWS).map(row).collect()
    }

    fn decode(&self, word: u64) -> Option<Held> {
        let last = self.base().wrapping_add(word).wrapping_sub(8);
        let block = last & !SHAPE.mask();
        (word != 0).then(|| {
            let known = (self.blocks..self.blocks + (BLOCKS << SHAPE.order) as u64).contains(&last) && word.is_multiple_of(8);
            assert!(known, "the word {word:#x} is no sheaf's");
            let count = ((last - block) / 8).checked_sub(SHAPE.sentinel() as u64).expect("a word below its sheaf");
            (block, self.objects(block, count as usize))
        })
    }

    fn chain(&self, mut head: u64) -> Vec<Held> {
        let mut sheaves = Vec::new();
        while head != 0 {
            let (block, count) = (head & ((1 << COUNT) - 1), head >> COUNT);
            sheaves.push((block, (0..SHAPE.cap.into()).map(|at| get(block + 8 * (SHAPE.sentinel() as u64 + 1 + at))).collect()));
            head = get(block);
            assert_eq!(head >> COUNT, count - 1, "the counts of a chain");
        }
        sheaves.reverse();
        sheaves
    }

    /// Takes the main word out of a row as a drain does, between two barriers.
    pub(crate) fn exchange(&self, row: u32) -> Option<Held> {
        let taken = self.decode(get(self.main_at(row)));
        set(self.main_at(row), 0);
        taken
    }

    /// A whole drain, by the production's code: the sheaves it got.
    pub(crate) fn drain(&self) -> Vec<Held> {
        // Under the drain's lock nothing may be allocated here: it is kmem that would be asked.
        let mut drained = Vec::with_capacity(BLOCKS);
        assert!(self.percpu.drain(SLOT, Idle::Any, |sheaf| drained.push(sheaf)));
        let objects = |sheaf: &Sheaf| sheaf.objects().iter().map(|object| object.addr() as u64).collect();
        let mut sheaves: Vec<Held> = drained
            .into_iter()
            .map(|sheaf| (objects(&sheaf), sheaf.into_block()))
            .map(|(objects, block)| (block.addr() as u64, objects))
            .collect();
        sheaves.sort();
        sheaves
    }

    /// Calls a function in an interpreted thread that is on `row`.
    pub(crate) fn call(
        &self,
        machine: &mut Machine<'_>,
        row: u32,
        function: u64,
        arguments: &[u64],
        before: impl FnMut(&mut Machine<'_>, usize),
    ) -> Result<u64, String> {
        machine.memory.stores.clear();
        machine.memory.set_row(row);
        machine.call(function, arguments, self.stack(), before)
    }
}
