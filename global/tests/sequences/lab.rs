//! A laboratory: runs an operation in an interpreted thread, lets events befall it, and judges how it ended.

use super::ground::{Filling, Ground, Held, MOST, NOWHERE, ROWS, Row, SHAPE, WEIGHT, entry};
use super::image::Image;
use super::machine::Machine;
use std::path::Path;

const OBJECT: u64 = 0xAB_CDE8;
/// What a rotation leaves in the low bits of the spare word.
const TURNS: u64 = 5;

/// An operation of a slow or fast path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Pop,
    Push,
    /// Installs a fresh sheaf if the word is what this row's is at first.
    SwapIf(u32),
    /// Exchanges main and spare sheaf if the spare word is what this row's is at first.
    RotatePop(u32),
    RotatePush(u32),
    Unstash,
    Stash,
}

/// What befalls a thread before its instruction number `at`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A signal, or the thread is preempted and goes on with that id.
    GoesOn(u32),
    /// All rows are drained.
    Drain,
    /// The word of its row is taken, and the barrier comes later.
    Exchange,
}

/// One run.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) op: Op,
    pub(super) fillings: [Filling; ROWS as usize],
    /// The row at first.
    pub(super) row: u32,
    /// A drain has been since the lease.
    pub(super) stale: bool,
}

/// How it ended.
pub(super) struct End {
    result: u64,
    before: Vec<Row>,
    after: Vec<Row>,
    fresh: Held,
    /// By a drain or an exchange.
    taken: Option<Vec<Held>>,
    /// Rows that the thread was on.
    visited: Vec<u32>,
    /// Instructions before which something can happen that makes a difference: inside sections all, elsewhere those that follow an
    /// access to what is not the thread's alone. And the first one, and the end.
    pub(super) points: Vec<usize>,
    /// Those inside sections.
    pub(super) inside: Vec<usize>,
}

/// What executes, and what on.
pub(super) struct Lab<'a> {
    ground: Ground,
    pub(super) machine: Machine<'a>,
    runs: usize,
}

/// How far up this executable is loaded, and where.
fn loaded() -> (u64, std::ops::Range<u64>) {
    unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the loader's list, and the variable below.
        unsafe {
            let headers = std::slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum.into());
            let parts = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
            let end = parts.map(|part| part.p_vaddr + part.p_memsz).max().unwrap_or(0);
            found.cast::<(u64, u64)>().write(((*info).dlpi_addr, end));
        }
        // The executable comes first.
        1
    }
    let mut found = (0, 0_u64);
    // SAFETY: `first` writes what it is given.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    let (bias, end) = found;
    (bias, bias..bias + end)
}

/// Where threads have their area, relative to the thread pointer.
fn area() -> Option<u64> {
    // SAFETY: a symbol of glibc's, of this type, if it is there.
    let offset = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<i64>().as_ref() };
    offset.map(|offset| *offset as u64)
}

/// Calls `test`, if this system has restartable sequences; a test of its own demands them where it should.
pub(super) fn with_lab(test: impl FnOnce(&mut Lab<'_>)) {
    let (Some(ground), Some(offset)) = (Ground::new(), area()) else {
        eprintln!("no restartable sequences here");
        return;
    };
    let (bias, range) = loaded();
    let image = Image::read(Path::new("/proc/self/exe")).loaded(bias);
    let machine = Machine::new(&image, ground.memory(range, offset));
    let mut lab = Lab { ground, machine, runs: 0 };
    test(&mut lab);
    println!("{} runs of {} instructions", lab.runs, lab.machine.steps);
}

/// The result on a row, and what the row holds then.
fn model(case: &Case, end: &End, on: u32) -> (u64, Row) {
    let (mut row, before) = (end.before[on as usize].clone(), &end.before);
    let found = |expected: u32| !case.stale && has_same_spare(&before[on as usize], &before[expected as usize]);
    // Room is asked for in the row where the thread is then.
    let room = || end.visited.iter().any(|&on| on < ROWS && before[on as usize].stash.len() < MOST);
    let result = match case.op {
        Op::Pop => pop(&mut row.main),
        Op::Push => push(&mut row.main),
        Op::SwapIf(expected) if !case.stale && word(&row.main) == word(&before[expected as usize].main) => {
            row.main = Some(end.fresh.clone());
            1
        }
        Op::RotatePop(expected) if found(expected) => rotate(&mut row, pop),
        Op::RotatePush(expected) if found(expected) => rotate(&mut row, push),
        Op::Unstash if !case.stale => row.stash.pop().map_or(0, |(block, _)| block),
        Op::Stash if !case.stale && room() => {
            row.stash.push(end.fresh.clone());
            1
        }
        Op::SwapIf(_) | Op::RotatePop(_) | Op::RotatePush(_) | Op::Unstash | Op::Stash => 0,
    };
    (result, row)
}

fn pop(sheaf: &mut Option<Held>) -> u64 {
    sheaf.as_mut().and_then(|(_, objects)| objects.pop()).unwrap_or(0)
}

fn push(sheaf: &mut Option<Held>) -> u64 {
    let room = sheaf.as_mut().filter(|(_, objects)| objects.len() < SHAPE.cap as usize);
    room.map_or(0, |(_, objects)| {
        objects.push(OBJECT);
        1
    })
}

/// Exchanges main and spare sheaf if the spare one can do what is asked.
fn rotate(row: &mut Row, does: fn(&mut Option<Held>) -> u64) -> u64 {
    let result = does(&mut row.spare);
    if result != 0 {
        std::mem::swap(&mut row.main, &mut row.spare);
        row.turns = TURNS;
    }
    result
}

/// What a word says.
fn word(sheaf: &Option<Held>) -> Option<(u64, usize)> {
    sheaf.as_ref().map(|(block, objects)| (*block, objects.len()))
}

fn has_same_spare(row: &Row, other: &Row) -> bool {
    row.turns == other.turns && word(&row.spare) == word(&other.spare)
}

impl Lab<'_> {
    fn run(&mut self, case: &Case, events: &[Event]) -> Result<End, String> {
        let before = self.ground.begin(&case.fillings, case.stale);
        let fresh = self.ground.fresh(if case.op == Op::Stash { SHAPE.cap as usize } else { 2 });
        let (function, arguments) = self.arguments(case, &before, &fresh);
        let (mut visited, mut taken) = (vec![case.row], None);
        let (mut points, mut inside) = (Vec::new(), Vec::new());
        let mut trouble = Ok(());
        let ground = &self.ground;
        let result = ground.call(&mut self.machine, case.row, function, &arguments, |machine, step| {
            let (touched, is_inside) = (machine.memory.take_touched(), machine.is_inside());
            if step == 0 || touched || is_inside || machine.has_returned() {
                points.push(step);
            }
            if is_inside {
                inside.push(step);
            }
            for event in events.iter().filter(|event| event.at == step) {
                if let Kind::GoesOn(row) = event.kind {
                    machine.memory.set_row(row);
                    visited.push(row);
                }
                if !matches!(event.kind, Kind::Exchange)
                    && let Err(what) = machine.interrupt()
                {
                    trouble = Err(what);
                }
                match event.kind {
                    Kind::GoesOn(_) => {}
                    Kind::Drain => taken = Some(ground.drain()),
                    Kind::Exchange => taken = Some(ground.exchange(machine.memory.row()).into_iter().collect()),
                }
            }
        });
        self.runs += 1;
        let end = End { result: result?, before, after: self.ground.look(), fresh, taken, visited, points, inside };
        trouble?;
        self.stores_are_lawful(case, &end)?;
        self.counts_are_true(&end)?;
        Ok(end)
    }

    /// The function to call, and what with.
    fn arguments(&self, case: &Case, before: &[Row], fresh: &Held) -> (u64, Vec<u64>) {
        let (ground, percpu, lease) = (&self.ground, self.ground.percpu(), self.ground.lease());
        let words = |old, new| ground.arguments([old, new]);
        let spare = |row: u32| words(ground.spare_word(&before[row as usize]), TURNS);
        match case.op {
            Op::Pop => (entry::pop as *const () as u64, vec![percpu]),
            Op::Push => (entry::push as *const () as u64, vec![percpu, OBJECT]),
            Op::SwapIf(row) => {
                let [old, new] = words(ground.word(&before[row as usize].main), ground.word(&Some(fresh.clone())));
                (entry::swap_if as *const () as u64, vec![percpu, lease, old, new])
            }
            Op::RotatePop(row) => {
                let [old, turns] = spare(row);
                (entry::rotate_pop as *const () as u64, vec![percpu, lease, old, turns])
            }
            Op::RotatePush(row) => {
                let [old, turns] = spare(row);
                (entry::rotate_push as *const () as u64, vec![percpu, lease, old, turns, OBJECT])
            }
            Op::Unstash => (entry::unstash as *const () as u64, vec![percpu, lease]),
            Op::Stash => (entry::stash as *const () as u64, vec![percpu, lease, fresh.0]),
        }
    }

    /// The rows together count what their stashes hold, unless the thread had no row to count in.
    fn counts_are_true(&self, end: &End) -> Result<(), String> {
        let held = end.after.iter().map(|row| row.stash.len() as u64 * WEIGHT).sum::<u64>() as i64;
        let counted = self.ground.stashed();
        let nowhere = end.visited.contains(&NOWHERE);
        if counted == held || nowhere { Ok(()) } else { Err(format!("the stashes hold {held} bytes, and {counted} are counted")) }
    }

    /// Nothing but the own row is written, once and only by success; and of sheaves, what was the thread's or lay above a top. Bytes of
    /// stashes are counted after success, in any row that the thread was on.
    fn stores_are_lawful(&self, case: &Case, end: &End) -> Result<(), String> {
        let (mut commits, mut counts) = (0, 0);
        let visited = || end.visited.iter().copied().filter(|&row| row < ROWS);
        for store in self.machine.memory.stores.iter().filter(|store| !self.ground.is_stack(store.at)) {
            let inside = self.machine.was_inside(store.by);
            let (place, size) = match case.op {
                Op::Pop | Op::Push | Op::SwapIf(_) => (self.ground.main_at(store.row), 8),
                Op::RotatePop(_) | Op::RotatePush(_) => (self.ground.main_at(store.row), 16),
                Op::Unstash | Op::Stash => (self.ground.stash_at(store.row), 8),
            };
            let in_block = |block: u64| (block..block + (1 << SHAPE.order)).contains(&store.at);
            let owned = match case.op {
                Op::Unstash => commits > 0 && in_block(end.result),
                Op::Stash => (commits == 0 || end.result == 0) && in_block(end.fresh.0),
                _ => false,
            };
            // Above the top of a row that the thread was on, even if it is no more.
            let above_top = visited().any(|row| {
                let row = &end.before[row as usize];
                let sheaf = match case.op {
                    Op::Push => &row.main,
                    Op::RotatePush(_) => &row.spare,
                    _ => &None,
                };
                self.ground.top_of(sheaf) == Some(store.at)
            });
            let count = visited().any(|row| self.ground.stashed_at(row) == store.at) && self.machine.is_locked(store.by);
            match (self.ground.rows().contains(&store.at), inside) {
                (true, true) if store.at == place && store.size == size => commits += 1,
                (true, false) if count && commits == 1 && store.size == 8 => counts += 1,
                (false, true) if above_top && commits == 0 => {}
                (false, false) if owned => {}
                _ => return Err(format!("an unlawful store: {store:x?}")),
            }
        }
        let expected = usize::from(end.result != 0);
        if commits == expected && counts <= expected {
            return Ok(());
        }
        Err(format!("{commits} commits and {counts} counts for the result {:#x}", end.result))
    }

    /// The ends at which the case may come without drains: on each row visited, the operation as a whole or not at all.
    fn explain(&mut self, case: &Case, events: &[Event]) -> Result<End, String> {
        let end = self.run(case, events)?;
        let explained = match events.first().map(|event| event.kind) {
            Some(Kind::Drain) => drained(case, &end),
            Some(Kind::Exchange) => exchanged(case, &end),
            _ => end.visited.iter().any(|&row| happened(case, &end, row, &end.after)),
        };
        if explained {
            return Ok(end);
        }
        Err(format!(
            "lost or doubled: result {:#x}\nbefore {:x?}\nafter {:x?}\ntaken {:x?}",
            end.result, end.before, end.after, end.taken
        ))
    }

    #[track_caller]
    pub(super) fn hold(&mut self, case: &Case, events: &[Event]) -> End {
        self.explain(case, events).unwrap_or_else(|what| panic!("{what}\n{case:?}\n{events:?}"))
    }
}

/// True if the rows hold what they do when the operation has been done on `row`.
fn happened(case: &Case, end: &End, row: u32, after: &[Row]) -> bool {
    if row >= ROWS {
        return end.result == 0 && after == end.before;
    }
    let (result, changed) = model(case, end, row);
    let mut expected = end.before.clone();
    expected[row as usize] = changed;
    // A stash compares its head in a section of its own, and gives up if it found another than it had read.
    let gave_up = case.op == Op::Stash && end.result == 0 && end.visited.len() > 1 && after == end.before;
    (end.result == result && after == expected) || gave_up
}

/// True if the drain found what was there before the operation, which then failed, or after.
fn drained(case: &Case, end: &End) -> bool {
    let taken = end.taken.as_ref().unwrap();
    let all = |rows: &[Row]| {
        let mut sheaves: Vec<_> =
            rows.iter().flat_map(|row| row.main.iter().chain(&row.spare).chain(&row.stash)).cloned().collect();
        sheaves.sort();
        sheaves
    };
    let nothing = Row { main: None, spare: None, turns: 0, stash: Vec::new() };
    let empty = end.after.iter().all(|row| *row == nothing);
    let failed = end.result == 0 && *taken == all(&end.before);
    if case.row >= ROWS {
        return empty && failed;
    }
    let (result, changed) = model(case, end, case.row);
    let mut first = end.before.clone();
    first[case.row as usize] = changed;
    empty && (failed || (end.result == result && *taken == all(&first)))
}

/// True if what was taken last is the truth (base, theory 4.5).
fn exchanged(case: &Case, end: &End) -> bool {
    let row = case.row as usize;
    let taken = end.taken.as_ref().unwrap().first().cloned();
    let again = end.after[row].main.clone();
    let truth = Row { main: again.or(taken), ..end.after[row].clone() };
    let failed = end.result == 0 && truth == end.before[row];
    failed || (end.result, truth) == model(case, end, case.row)
}
