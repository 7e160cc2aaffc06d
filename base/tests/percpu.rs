//! The per-CPU queues by themselves, against a plain model of every row. Rows are locked, and the test says which CPU it is on.

#![cfg(not(loom))]

use kmem_base::meta::Meta;
use kmem_base::pages::{Pages, Thp};
use kmem_base::percpu::{Blocks, Idle, Lease, Mode, PerCpu, Place, Shape, Sheaf, Slot, Word, fake_cpu, on_cpu};
use kmem_base::source::{FaultySource, Plan};
use kmem_testkit::SplitMix64;

const ROWS: u32 = 4;

/// The slot whose objects have a size, and that size.
const HEAVY: usize = 5;
const SIZE: u32 = 48;

fn this_row() -> usize {
    (fake_cpu().unwrap() % ROWS) as usize
}

struct Ground {
    percpu: PerCpu,
    blocks: Blocks,
    meta: Meta,
    pages: &'static Pages,
}

impl Ground {
    fn new(rows: u32) -> Self {
        let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
        let pages: &'static Pages = Box::leak(Box::new(Pages::new(source)));
        pages.configure(64 << 20, 0, 8 << 20, Thp::Auto);
        let percpu = PerCpu::new();
        assert_eq!((percpu.mode(), percpu.row()), (Mode::Down, None));
        assert!(percpu.boot(source, rows, true));
        assert_eq!((percpu.mode(), percpu.cpus()), (Mode::Locked, rows));
        on_cpu(Some(0));
        Self { percpu, blocks: Blocks::new(), meta: Meta::new(), pages }
    }

    fn empty(&self, shape: Shape) -> Sheaf {
        self.blocks.get(&self.percpu, &self.meta, self.pages, shape).expect("memory")
    }

    /// A sheaf of `objects`.
    fn sheaf(&self, shape: Shape, objects: &[usize]) -> Sheaf {
        let mut sheaf = self.empty(shape);
        assert!(sheaf.is_empty());
        assert!(objects.iter().all(|object| sheaf.push(std::ptr::without_provenance_mut(*object))));
        sheaf
    }

    /// Its objects, oldest first; its block is put back.
    fn contents(&self, mut sheaf: Sheaf) -> Vec<usize> {
        let objects = sheaf.objects().iter().map(|object| object.addr()).collect();
        sheaf.clear();
        self.blocks.put(&self.percpu, sheaf);
        objects
    }
}

/// One row of one slot, as it should be.
#[derive(Default, Clone)]
struct Row {
    main: Option<Vec<usize>>,
    spare: Option<Vec<usize>>,
    stash: Vec<Vec<usize>>,
    /// The main word as it was marked.
    mark: u64,
}

struct Model<'a> {
    ground: &'a Ground,
    slot: Slot,
    shape: Shape,
    rows: [Row; ROWS as usize],
    next: usize,
}

fn raw(word: Word) -> u64 {
    // SAFETY: a word is transparent over its bits; only their equality counts here.
    unsafe { std::mem::transmute::<Word, u64>(word) }
}

impl Model<'_> {
    fn fresh(&mut self, count: usize) -> Vec<usize> {
        let first = self.next;
        self.next += count * 8;
        (0..count).map(|at| first + at * 8).collect()
    }

    fn row(&mut self) -> &mut Row {
        &mut self.rows[this_row()]
    }

    fn push(&mut self) {
        let (object, cap) = (self.fresh(1)[0], self.shape.cap as usize);
        let room = self.row().main.as_ref().is_some_and(|main| main.len() < cap);
        let pushed = self.ground.percpu.push_locked(self.slot, std::ptr::without_provenance_mut(object));
        assert_eq!(pushed, room);
        if pushed {
            self.row().main.as_mut().unwrap().push(object);
        }
    }

    fn pop(&mut self) {
        let expected = self.row().main.as_mut().and_then(Vec::pop).unwrap_or(0);
        assert_eq!(self.ground.percpu.pop_locked(self.slot).addr(), expected);
    }

    /// Puts a sheaf of `count` objects in the place of what is there, or nothing.
    fn swap(&mut self, lease: &Lease, spare: bool, count: Option<usize>) {
        let (percpu, place) = (&self.ground.percpu, if spare { Place::spare(self.slot) } else { Place::main(self.slot) });
        let objects = count.map(|count| self.fresh(count));
        let word = objects.as_ref().map_or(Word::NONE, |new| self.ground.sheaf(self.shape, new).into_word(percpu.base()));
        let old = percpu.peek(place);
        if !old.is_none() {
            assert!(!percpu.swap_if(lease, place, Word::NONE, word), "another word is there");
        }
        assert!(percpu.swap_if(lease, place, old, word));
        // SAFETY: the swap made it ours.
        let old = unsafe { Sheaf::from_word(old, percpu.base(), self.shape) }.map(|sheaf| self.ground.contents(sheaf));
        let row = self.row();
        let expected = std::mem::replace(if spare { &mut row.spare } else { &mut row.main }, objects);
        assert_eq!(old, expected);
    }

    /// Bytes of a full sheaf's objects. Only those of one slot weigh anything, so that each model knows what its row holds.
    fn weight(&self) -> u64 {
        if self.slot.index() == HEAVY { u64::from(self.shape.cap) * u64::from(SIZE) } else { 0 }
    }

    fn stash(&mut self, lease: &Lease, most: u32) {
        let bytes = if self.weight() > 0 { u64::from(most) * self.weight() } else { u64::MAX / 2 };
        let full = self.fresh(self.shape.cap as usize);
        let sheaf = self.ground.sheaf(self.shape, &full);
        match self.ground.percpu.stash(lease, sheaf, bytes) {
            Ok(()) => self.row().stash.push(full),
            Err(sheaf) => {
                assert_eq!(self.ground.contents(sheaf), full, "given back whole");
                assert!(self.row().stash.len() >= most as usize);
                return;
            }
        }
        assert!(self.weight() == 0 || self.row().stash.len() <= most as usize);
    }

    fn unstash(&mut self, lease: &Lease) {
        let sheaf = self.ground.percpu.unstash(lease).map(|sheaf| self.ground.contents(sheaf));
        assert_eq!(sheaf, self.row().stash.pop());
    }

    fn mark(&mut self) {
        self.ground.percpu.mark(self.slot);
        for cpu in 0..ROWS {
            self.rows[cpu as usize].mark = self.main_word(cpu);
        }
    }

    fn main_word(&self, cpu: u32) -> u64 {
        let here = fake_cpu();
        on_cpu(Some(cpu));
        let word = raw(self.ground.percpu.peek(Place::main(self.slot)));
        on_cpu(here);
        word
    }

    fn untouched(&self, cpu: u32) -> bool {
        let row = &self.rows[cpu as usize];
        let holds = row.main.is_some() || row.spare.is_some() || !row.stash.is_empty();
        holds && self.main_word(cpu) == row.mark
    }

    fn drain(&mut self, which: Idle) {
        let mut expected = Vec::new();
        assert_eq!(self.ground.percpu.has_idle(self.slot), (0..ROWS).any(|cpu| self.untouched(cpu)));
        for cpu in (0..ROWS).filter(|cpu| which == Idle::Any || self.untouched(*cpu)).collect::<Vec<_>>() {
            let row = &mut self.rows[cpu as usize];
            expected.extend(row.main.take());
            expected.extend(row.spare.take());
            expected.extend(std::mem::take(&mut row.stash).into_iter().rev());
        }
        let mut taken = Vec::new();
        assert!(self.ground.percpu.drain(self.slot, which, |sheaf| taken.push(self.ground.contents(sheaf))));
        assert_eq!(taken, expected);
    }

    /// With a lease from before a drain nothing can be changed.
    fn stale(&mut self, lease: &Lease) {
        let percpu = &self.ground.percpu;
        for place in [Place::main(self.slot), Place::spare(self.slot)] {
            assert!(!percpu.swap_if(lease, place, percpu.peek(place), Word::NONE));
        }
        assert!(percpu.unstash(lease).is_none());
        let full = vec![8; self.shape.cap as usize];
        let sheaf = percpu.stash(lease, self.ground.sheaf(self.shape, &full), u64::MAX / 2).expect_err("stale");
        self.ground.contents(sheaf);
    }

    fn check(&self) {
        let percpu = &self.ground.percpu;
        let len = |queue: &Option<Vec<usize>>| queue.as_ref().map_or(0, Vec::len);
        let cap = self.shape.cap as usize;
        let queued: usize = self.rows.iter().map(|row| len(&row.main) + len(&row.spare) + row.stash.len() * cap).sum();
        assert_eq!(percpu.queued(self.slot), queued);
        assert!(percpu.check(self.slot));
        let row = &self.rows[this_row()];
        for (place, queue) in [(Place::main(self.slot), &row.main), (Place::spare(self.slot), &row.spare)] {
            let word = percpu.peek(place);
            assert_eq!((word.is_none(), word.len(self.shape) as usize), (queue.is_none(), len(queue)));
            assert_eq!(word.is_empty(self.shape), len(queue) == 0);
        }
    }
}

#[test]
fn rows_agree_with_a_plain_model() {
    for cap in [1, 3, 7, 31] {
        let ground = Ground::new(ROWS);
        let shape = Shape::holding(cap);
        let mut random = SplitMix64::new(u64::from(cap));
        let mut models = [HEAVY, 900].map(|slot| {
            let (size, slot) = (if slot == HEAVY { SIZE } else { 0 }, Slot::new(slot));
            assert_eq!(ground.percpu.lease(slot).shape(), None);
            ground.percpu.shape_first(slot, shape, size);
            Model { ground: &ground, slot, shape, rows: Default::default(), next: 4096 * slot.index() }
        });
        for _ in 0..3000 {
            // Numbers beyond the table stand for a row in it.
            on_cpu(Some(random.below(2 * ROWS as usize) as u32));
            assert_eq!(ground.percpu.row(), Some(this_row() as u32));
            let model = &mut models[random.below(2)];
            let lease = ground.percpu.lease(model.slot);
            assert_eq!(lease.shape(), Some(shape));
            match random.below(100) {
                0..30 => model.push(),
                30..60 => model.pop(),
                60..80 => {
                    let count = (!random.percent(20)).then(|| random.below(cap as usize + 1));
                    model.swap(&lease, random.percent(50), count);
                }
                80..88 => model.stash(&lease, 1 + random.below(5) as u32),
                88..92 => model.unstash(&lease),
                92..96 => model.mark(),
                96..98 => model.drain(Idle::Untouched),
                98 => model.drain(Idle::Any),
                _ => {
                    model.drain(Idle::Untouched);
                    model.stale(&lease);
                }
            }
            models.iter().for_each(Model::check);
        }
        models.iter_mut().for_each(|model| model.drain(Idle::Any));
        models.iter().for_each(Model::check);
    }
}

#[test]
fn a_drain_that_is_not_wanted_any_more_changes_nothing() {
    let ground = Ground::new(ROWS);
    let (slot, shape) = (Slot::new(0), Shape::holding(7));
    ground.percpu.shape_first(slot, shape, SIZE);
    let mut model = Model { ground: &ground, slot, shape, rows: Default::default(), next: 8 };
    let lease = ground.percpu.lease(slot);
    model.swap(&lease, false, Some(5));
    assert!(!ground.percpu.drain_and(slot, Idle::Any, || false, |_| panic!("nothing is taken"), |_| panic!("nor settled")));
    assert_eq!(ground.percpu.lease(slot), lease);
    model.check();
}

#[test]
fn a_slot_is_reshaped_when_it_is_empty() {
    let ground = Ground::new(ROWS);
    let (slot, old, new) = (Slot::new(77), Shape::holding(7), Shape::holding(100));
    ground.percpu.shape_first(slot, old, SIZE);
    let mut model = Model { ground: &ground, slot, shape: old, rows: Default::default(), next: 8 };
    model.swap(&ground.percpu.lease(slot), false, Some(5));
    let (mut taken, mut during) = (0, None);
    let reshaped = ground.percpu.drain_and(
        slot,
        Idle::Any,
        || true,
        |sheaf| taken += ground.contents(sheaf).len(),
        |shape| {
            assert_eq!(shape, old);
            during = ground.percpu.lease(slot).shape();
            Some(new)
        },
    );
    assert!(reshaped);
    assert_eq!((taken, during, ground.percpu.lease(slot).shape()), (5, None, Some(new)), "no queue while it is drained");
    model = Model { shape: new, rows: Default::default(), ..model };
    model.swap(&ground.percpu.lease(slot), false, Some(99));
    (0..3).for_each(|_| model.push());
    model.check();
    // No queues at all.
    model.drain(Idle::Any);
    assert!(ground.percpu.drain_and(slot, Idle::Any, || true, |_| panic!("it was empty"), |_| Some(Shape { order: 0, cap: 0 })));
    assert_eq!(ground.percpu.lease(slot).shape(), None);
    assert!(!ground.percpu.push_locked(slot, std::ptr::without_provenance_mut(8)));
    assert!(ground.percpu.pop_locked(slot).is_null());
    assert_eq!(ground.percpu.queued(slot), 0);
    assert!(ground.percpu.check(slot));
}

#[test]
fn more_rows_than_one_barrier_is_for_are_drained() {
    const MANY: u32 = 150;
    let ground = Ground::new(MANY);
    let (slot, shape) = (Slot::new(3), Shape::holding(3));
    ground.percpu.shape_first(slot, shape, SIZE);
    for cpu in 0..MANY {
        on_cpu(Some(cpu));
        let word = ground.sheaf(shape, &[8 * (cpu as usize + 1)]).into_word(ground.percpu.base());
        assert!(ground.percpu.swap_if(&ground.percpu.lease(slot), Place::main(slot), Word::NONE, word));
    }
    assert_eq!(ground.percpu.queued(slot), MANY as usize);
    let mut taken = Vec::new();
    assert!(ground.percpu.drain(slot, Idle::Any, |sheaf| taken.extend(ground.contents(sheaf))));
    assert_eq!(taken, (1..=MANY as usize).map(|cpu| cpu * 8).collect::<Vec<_>>());
    assert_eq!(ground.percpu.queued(slot), 0);
}

#[test]
fn empty_blocks_wait_on_their_cpu_and_the_surplus_is_everybodys() {
    let ground = Ground::new(ROWS);
    for cap in [7, 127, 5000] {
        let shape = Shape::holding(cap);
        on_cpu(Some(0));
        assert!(ground.blocks.get_nowait(&ground.percpu, shape).is_none(), "none was ever made");
        let before = ground.blocks.bytes();
        let sheaves: Vec<_> = (0..100).map(|_| ground.empty(shape)).collect();
        let made = ground.blocks.bytes() - before;
        let least = 100 << shape.order;
        assert!((least..least + (8 << 10).max(1 << shape.order)).contains(&made), "a few at a time: {made}");
        let addresses = |sheaves: &[Sheaf]| {
            let mut all: Vec<_> = sheaves.iter().map(|sheaf| sheaf.objects().as_ptr().addr()).collect();
            all.sort_unstable();
            all
        };
        let all = addresses(&sheaves);
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= 1 << shape.order), "no two share bytes");
        sheaves.into_iter().for_each(|sheaf| ground.blocks.put(&ground.percpu, sheaf));
        let near: Vec<_> = std::iter::from_fn(|| ground.blocks.get_nowait(&ground.percpu, shape)).collect();
        assert_eq!(near.len(), 48, "as many as a CPU's chain holds");
        on_cpu(Some(1));
        assert!(ground.blocks.get_nowait(&ground.percpu, shape).is_none());
        let mut again: Vec<_> = (48..100).map(|_| ground.empty(shape)).collect();
        again.extend(near);
        assert_eq!(addresses(&again), all, "what was made is used again");
        assert_eq!(ground.blocks.bytes() - before, made);
    }
}

#[test]
fn without_memory_there_are_no_rows() {
    let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
    let percpu = PerCpu::new();
    source.plan(Plan::From(0));
    assert!(!percpu.boot(source, 2, true));
    assert_eq!(percpu.mode(), Mode::Down);
    assert!(percpu.pop(Slot::new(0)).is_null() && !percpu.push(Slot::new(0), std::ptr::null_mut()));
    source.plan(Plan::Never);
    assert!(percpu.boot(source, 2, true));
    assert_eq!(percpu.cpus(), 2);
}

#[test]
fn rows_are_added_once_and_only_where_no_drain_runs() {
    let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
    let percpu = PerCpu::new();
    assert!(percpu.boot_with_room(source, 2, 64, true));
    assert_eq!((percpu.cpus(), percpu.has_room()), (2, true));
    percpu.undrained(|| percpu.extend(source, || 8));
    assert_eq!((percpu.cpus(), percpu.has_room()), (2, true), "a drain must see every row");
    percpu.extend(source, || 8);
    assert_eq!((percpu.cpus(), percpu.has_room()), (8, false));
    percpu.extend(source, || unreachable!("that was all the machine has"));
    // The new rows are as good as the old ones, and a drain finds what is in them.
    let (shape, slot) = (Shape::holding(7), Slot::new(3));
    percpu.shape_first(slot, shape, SIZE);
    let (blocks, meta, pages) = (Blocks::new(), Meta::new(), Box::leak(Box::new(Pages::new(source))));
    pages.configure(64 << 20, 0, 8 << 20, Thp::Auto);
    for cpu in 0..8 {
        on_cpu(Some(cpu));
        let mut sheaf = blocks.get(&percpu, &meta, pages, shape).expect("memory");
        assert!(sheaf.push(std::ptr::without_provenance_mut(8 * (cpu as usize + 1))));
        let word = sheaf.into_word(percpu.base());
        assert!(percpu.swap_if(&percpu.lease(slot), Place::main(slot), Word::NONE, word));
        assert_eq!(percpu.row(), Some(cpu));
    }
    let mut found = Vec::new();
    assert!(percpu.drain(slot, Idle::Any, |sheaf| found.extend(sheaf.objects().iter().map(|object| object.addr()))));
    found.sort_unstable();
    assert_eq!(found, (1..=8).map(|cpu| 8 * cpu).collect::<Vec<_>>());
}

#[test]
fn rows_that_there_is_no_memory_for_are_not_there() {
    let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
    let percpu = PerCpu::new();
    source.plan(Plan::Nth(1));
    assert!(!percpu.boot_with_room(source, 2, 64, true), "address space alone is not enough");
    assert_eq!(percpu.mode(), Mode::Down);
    source.plan(Plan::Nth(0));
    assert!(percpu.boot_with_room(source, 2, 64, true), "it does without room for more");
    assert!(!percpu.has_room());
    let percpu = PerCpu::new();
    source.plan(Plan::Never);
    assert!(percpu.boot_with_room(source, 2, 64, true));
    source.plan(Plan::From(0));
    percpu.extend(source, || 8);
    assert_eq!((percpu.cpus(), percpu.has_room()), (2, false));
}

#[test]
fn fork_takes_every_row_and_gives_it_back() {
    let ground = Ground::new(ROWS);
    let slot = Slot::new(9);
    ground.percpu.shape_first(slot, Shape::holding(3), SIZE);
    ground.percpu.prepare_fork();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            on_cpu(Some(2));
            ground.percpu.pop_locked(slot).addr()
        });
        for _ in 0..100 {
            std::thread::yield_now();
            assert!(!other.is_finished(), "rows are held over a fork");
        }
        // SAFETY: prepared above.
        unsafe { ground.percpu.after_fork() };
        assert_eq!(other.join().unwrap(), 0);
    });
    assert!(ground.percpu.drain(slot, Idle::Any, |_| panic!("nothing is there")));
}

/// Sheaves that this thread's row takes into an empty stash that may hold ten.
fn stash_takes(ground: &Ground, slot: Slot, shape: Shape) -> usize {
    let (lease, most) = (ground.percpu.lease(slot), 10 * u64::from(shape.cap) * u64::from(SIZE));
    let full = vec![8; shape.cap as usize];
    let refused =
        (0..).find_map(|count| ground.percpu.stash(&lease, ground.sheaf(shape, &full), most).err().map(|sheaf| (count, sheaf)));
    let (count, sheaf) = refused.unwrap();
    ground.contents(sheaf);
    while let Some(sheaf) = ground.percpu.unstash(&lease) {
        ground.contents(sheaf);
    }
    count
}

#[test]
fn what_a_stash_may_hold_does_not_drift() {
    let (ground, slot, shape) = (Ground::new(ROWS), Slot::new(HEAVY), Shape::holding(7));
    ground.percpu.shape_first(slot, shape, SIZE);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let ground = &ground;
            scope.spawn(move || {
                let mut random = SplitMix64::new(thread);
                let (lease, full) = (ground.percpu.lease(slot), vec![8; shape.cap as usize]);
                for _ in 0..200_000 {
                    on_cpu(Some(random.below(2) as u32));
                    if random.percent(50) {
                        if let Err(sheaf) = ground.percpu.stash(&lease, ground.sheaf(shape, &full), 1 << 20) {
                            ground.contents(sheaf);
                        }
                    } else if let Some(sheaf) = ground.percpu.unstash(&lease) {
                        ground.contents(sheaf);
                    }
                }
            });
        }
    });
    ground.percpu.drain(slot, Idle::Any, |sheaf| drop(ground.contents(sheaf)));
    for cpu in 0..ROWS {
        on_cpu(Some(cpu));
        assert_eq!(stash_takes(&ground, slot, shape), 10, "row {cpu}");
    }
}
