//! The page supply by itself: runs, large and huge blocks, purging and decay, over a system that refuses.

mod stamps;

use crate::decode::{Failing, size, trace};
use crate::world::World;
use arbitrary::{Arbitrary, Result, Unstructured};
use kmem_base::classes::{CLASSES, Class};
use kmem_base::config::{PAGE_SHIFT, PAGE_SIZE};
use kmem_base::pages::{Grown, Kind, Page, Pages, Thp};
use kmem_base::source::{Plan, os_page};
use stamps::Stamps;
use std::alloc::Layout;
use std::ptr;

/// Runs and blocks held at a time.
const SLOTS: usize = 64;
/// Bytes held at a time.
const MOST: usize = 64 << 20;

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc { slot: u8, pages: u32, align: u32, kind: Kind, zeroed: bool },
    AllocLarge { slot: u8, size: usize, align: usize, zeroed: bool },
    Resize { slot: u8, size: usize },
    Free { slot: u8 },
    Class { slot: u8, class: u8 },
    Look { slot: u8, at: u16 },
    Purge { all: bool },
    Decay,
    Check,
    Fail(Plan),
    Limits { limit_mb: usize, huge: usize },
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (kind, slot) = (u.arbitrary::<u8>()? % 32, u.arbitrary::<u8>()?);
        Ok(match kind {
            0..=7 => {
                let (pages, shape) = (u.arbitrary::<u8>()?, u.arbitrary::<u8>()?);
                let kind = [Kind::Slab, Kind::Slab, Kind::Large, Kind::Meta][usize::from(shape >> 6)];
                let pages = if pages < 240 { 1 + u32::from(pages % 32) } else { 1 << (pages % 9) };
                Op::Alloc { slot, pages, align: 1 << (shape % 8), kind, zeroed: shape & 8 != 0 }
            }
            8..=12 => {
                let shape = u.arbitrary::<u8>()?;
                Op::AllocLarge { slot, size: size(u, 25)?, align: 1 << (shape % 23), zeroed: shape & 128 != 0 }
            }
            13..=17 => Op::Resize { slot, size: size(u, 25)? },
            18..=23 => Op::Free { slot },
            24 => Op::Class { slot, class: u.arbitrary()? },
            25 => Op::Look { slot, at: u.arbitrary()? },
            26 => Op::Purge { all: slot & 1 != 0 },
            27 => Op::Decay,
            28 => Op::Check,
            29 | 30 => Op::Fail(u.arbitrary::<Failing>()?.0),
            _ => Op::Limits { limit_mb: [0, 0, 1, 8, 64][usize::from(slot) % 5], huge: 128 << 10 << (slot / 5 % 7) },
        })
    }
}

/// A run or a block, stamped.
#[derive(Clone, Copy)]
struct Held {
    /// Of a run; a block is known by its address.
    run: Option<&'static Page>,
    at: *mut u8,
    layout: Layout,
}

impl Held {
    fn pages(&self) -> usize {
        self.layout.size().div_ceil(PAGE_SIZE)
    }
}

struct Supply {
    world: World<Pages>,
    stamps: Stamps,
    held: [Option<Held>; SLOTS],
    /// True while the system may refuse.
    failing: bool,
    limit: usize,
}

/// Carries out the operations that `data` stands for.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut supply = Supply::new(u.arbitrary::<u8>().unwrap_or(0));
    while !u.is_empty() {
        let Ok(op) = u.arbitrary() else { break };
        supply.step(op);
    }
    supply.finish();
}

impl Supply {
    fn new(arena: u8) -> Self {
        let world = World::new(Pages::new);
        world.it.configure(4 << 20 << (arena % 9), 0, 8 << 20, Thp::Auto);
        world.it.keep_runs(if arena & 128 != 0 { 0 } else { u32::MAX });
        Self { world, stamps: Stamps::default(), held: [None; SLOTS], failing: false, limit: usize::MAX }
    }

    fn step(&mut self, op: Op) {
        trace(&op);
        let pages = self.world.it;
        match op {
            Op::Alloc { slot, pages, align, kind, zeroed } => self.alloc(slot, pages, align, kind, zeroed),
            Op::AllocLarge { slot, size, align, zeroed } => self.alloc_large(slot, size, align, zeroed),
            Op::Resize { slot, size } => self.resize(slot, size),
            Op::Free { slot } => self.free(slot),
            Op::Class { slot, class } => self.class(slot, class),
            Op::Look { slot, at } => self.look(slot, at),
            Op::Purge { all } => self.purge(all),
            Op::Decay => _ = pages.decay(),
            Op::Check => self.check(),
            Op::Fail(plan) => {
                self.failing = plan != Plan::Never;
                self.world.plan(plan);
            }
            Op::Limits { limit_mb, huge } => {
                self.limit = if limit_mb == 0 { usize::MAX } else { limit_mb << 20 >> PAGE_SHIFT };
                pages.configure(4 << 20, limit_mb << 20, huge, Thp::Auto);
            }
        }
    }

    fn slot(&mut self, slot: u8) -> &mut Option<Held> {
        &mut self.held[usize::from(slot) % SLOTS]
    }

    fn used(&self) -> usize {
        self.held.iter().flatten().map(Held::pages).sum()
    }

    /// Frees what is in the slot. False if another `size` bytes would be too much for a test.
    fn vacate(&mut self, slot: u8, size: usize) -> bool {
        self.free(slot);
        self.stamps.bytes() + size <= MOST
    }

    /// Whether a request was answered as the limit and the system allow.
    fn judge(&self, served: bool, size: usize) {
        let within = self.used() + size.div_ceil(PAGE_SIZE) <= self.limit;
        assert!(within || !served, "the limit was broken");
        assert!(served || !within || self.failing, "refused without need");
    }

    fn keep(&mut self, slot: u8, held: Held, zeroed: bool) {
        // SAFETY: it is what the supply returned for this layout.
        unsafe { self.stamps.add(held.at, held.layout.size(), held.layout.align(), zeroed) };
        *self.slot(slot) = Some(held);
    }

    fn alloc(&mut self, slot: u8, pages: u32, align: u32, kind: Kind, zeroed: bool) {
        let size = pages as usize * PAGE_SIZE;
        if !self.vacate(slot, size) {
            return;
        }
        let supply = self.world.it;
        let run = if zeroed { supply.alloc_zeroed(pages, align, kind) } else { supply.alloc(pages, align, kind) };
        self.judge(run.is_some(), size);
        let Some(run) = run else { return };
        assert_eq!((run.page.kind(), run.page.span(), run.page.address()), (kind, pages, run.address.addr()));
        assert!(run.zeroed || !zeroed);
        let layout = Layout::from_size_align(size, align as usize * PAGE_SIZE).expect("valid");
        self.keep(slot, Held { run: Some(run.page), at: run.address, layout }, run.zeroed);
    }

    fn alloc_large(&mut self, slot: u8, size: usize, align: usize, zeroed: bool) {
        if !self.vacate(slot, size) {
            return;
        }
        let at = self.world.it.alloc_large(size, align, zeroed);
        self.judge(!at.is_null(), size);
        if !at.is_null() {
            let layout = Layout::from_size_align(size, align).expect("valid");
            self.keep(slot, Held { run: None, at, layout }, zeroed);
        }
    }

    fn resize(&mut self, slot: u8, size: usize) {
        let Some(old) = *self.slot(slot) else { return };
        if old.run.is_some() || self.stamps.bytes() + size > MOST {
            return;
        }
        let used = self.used();
        // SAFETY: the block is live and of that layout.
        unsafe {
            match self.world.it.resize_large(old.at, old.layout.size(), size, old.layout.align()) {
                Grown::Copy => self.stamps.verify(old.at, old.layout.size()),
                Grown::Done(at) => {
                    let layout = Layout::from_size_align(size, old.layout.align()).expect("valid");
                    let new = Held { run: None, at, layout };
                    let more = new.pages() > old.pages();
                    assert!(!more || used - old.pages() + new.pages() <= self.limit, "the limit was broken");
                    *self.slot(slot) = Some(new);
                    self.stamps.resize(old.at, at, size, old.layout.align());
                }
            }
        }
    }

    fn free(&mut self, slot: u8) {
        let Some(held) = self.slot(slot).take() else { return };
        // SAFETY: it is live, of that layout, and forgotten here.
        unsafe {
            self.stamps.remove(held.at, held.layout.size());
            match held.run {
                Some(page) => self.world.it.free(page),
                None => self.world.it.free_large(held.at, held.layout.size()),
            }
        }
    }

    /// Slabs have a class on every page.
    fn class(&mut self, slot: u8, class: u8) {
        let Some(Held { run: Some(page), at, layout }) = *self.slot(slot) else { return };
        if page.kind() == Kind::Slab {
            let class = Class::from_index(class as usize % CLASSES);
            self.world.it.set_class(page, class);
            let last = at.addr() + layout.size() - 1;
            assert_eq!((self.world.it.class_of(at.addr()), self.world.it.class_of(last)), (Some(class), Some(class)));
        }
    }

    /// What the supply says about an address inside something held.
    fn look(&mut self, slot: u8, at: u16) {
        let supply = self.world.it;
        let Some(held) = *self.slot(slot) else { return };
        let address = held.at.addr() + usize::from(at) * (held.layout.size() - 1) / 0xFFFF;
        let page = supply.page_of(address);
        assert_eq!(supply.is_used(address), page.is_some(), "only huge blocks are in no arena");
        match held.run {
            Some(run) if run.kind() == Kind::Slab => assert!(ptr::eq(supply.head_of(address).expect("a slab"), run)),
            Some(_) => assert!(page.is_some()),
            None => {
                let unit = if page.is_some() { PAGE_SIZE } else { os_page() };
                assert_eq!(supply.large_len(held.at), Some(held.layout.size().next_multiple_of(unit)));
            }
        }
    }

    fn purge(&mut self, all: bool) {
        let free = self.world.it.stats().retained;
        let purged = self.world.it.purge(all);
        assert!(purged <= free);
        if all && !self.failing {
            assert_eq!((purged, self.world.it.stats().retained), (free, 0));
        }
    }

    fn check(&self) {
        for held in self.held.iter().flatten() {
            // SAFETY: it is live.
            unsafe { self.stamps.verify(held.at, held.layout.size()) };
        }
        assert!(self.world.it.check(), "an invariant is broken");
        assert_eq!(self.world.it.stats().used >> PAGE_SHIFT, self.used());
    }

    /// Everything goes back, and all there is fits again.
    fn finish(mut self) {
        self.check();
        (0..SLOTS as u8).for_each(|slot| self.free(slot));
        self.check();
        self.step(Op::Fail(Plan::Never));
        self.step(Op::Limits { limit_mb: 0, huge: 8 << 20 });
        self.purge(true);
        let all = self.world.it.alloc(1024, 1, Kind::Large).expect("nothing refuses");
        // SAFETY: just allocated, used by nobody.
        unsafe { self.world.it.free(all.page) };
        self.check();
        assert!(self.world.ledger.mappings().iter().all(|len| *len == os_page()), "a huge block was lost");
    }
}
