//! Objects behind handles: sizes as they come, handles that are live, stale and made up, guards that last, compaction in steps, a system
//! that refuses. Beside it a map of what every handle should lead to.

use crate::decode::{Failing, trace};
use crate::world::World;
use arbitrary::{Arbitrary, Result, Unstructured};
use kmem_base::source::{PageSource, Plan};
use kmem_zalloc::{AllocError, Budget, Handle, HandleError, ReadGuard, Zspool};
use std::collections::HashMap;

type Pool = Zspool<&'static dyn PageSource>;

/// Objects held at a time, and guards.
const OBJECTS: usize = 2000;
const GUARDS: usize = 300;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// `count` objects of one size.
    Insert {
        size: u16,
        count: u8,
    },
    Free {
        which: u16,
    },
    /// Every `step`th object.
    Thin {
        step: u8,
    },
    Write {
        which: u16,
        len: u16,
    },
    Read {
        which: u16,
    },
    Pin {
        which: u16,
    },
    Unpin {
        which: u16,
    },
    Forge {
        which: u16,
        bit: u8,
    },
    Compact {
        budget: u8,
    },
    Give {
        back: u8,
    },
    Check,
    Fail(Plan),
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (kind, which) = (u.arbitrary::<u8>()? % 32, u.arbitrary::<u16>()?);
        Ok(match kind {
            0..=9 => Op::Insert { size: which % 4200, count: u.arbitrary()? },
            10..=13 => Op::Free { which },
            14 | 15 => Op::Thin { step: which as u8 },
            16 | 17 => Op::Write { which, len: u.arbitrary::<u16>()? % 4200 },
            18 | 19 => Op::Read { which },
            20..=22 => Op::Pin { which },
            23 | 24 => Op::Unpin { which },
            25 => Op::Forge { which, bit: u.arbitrary()? },
            26..=28 => Op::Compact { budget: which as u8 },
            29 => Op::Give { back: which as u8 },
            30 => Op::Check,
            _ => Op::Fail(u.arbitrary::<Failing>()?.0),
        })
    }
}

/// What an object's bytes are made of.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Object {
    size: usize,
    /// Of its first bytes, and how many have been written over with another.
    seed: u8,
    over: usize,
    new: u8,
}

impl Object {
    fn byte(&self, at: usize) -> u8 {
        let seed = if at < self.over { self.new } else { self.seed };
        seed.wrapping_add((at as u8).wrapping_mul(7)) ^ (at >> 8) as u8
    }

    fn is(&self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.size);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == self.byte(at)), "contents of {self:?}");
    }
}

struct Target {
    guards: Vec<(Handle, ReadGuard<'static>, Object)>,
    live: Vec<Handle>,
    objects: HashMap<Handle, Object>,
    failing: bool,
    /// After the guards: it is gone first otherwise.
    world: World<Pool>,
}

/// Carries out the operations that `data` stands for.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let shards = 1 + usize::from(u.arbitrary::<u8>().unwrap_or(0) % 3);
    let world = World::new(|source| Zspool::builder().shards(shards).source(source).build());
    let mut target = Target { guards: Vec::new(), live: Vec::new(), objects: HashMap::new(), failing: false, world };
    while !u.is_empty() {
        let Ok(op) = u.arbitrary() else { break };
        target.step(op);
    }
    target.finish();
}

impl Target {
    fn step(&mut self, op: Op) {
        trace(&op);
        let pool = self.world.it;
        match op {
            Op::Insert { size, count } => (0..count % 64).for_each(|at| self.insert(size.into(), count ^ at)),
            Op::Free { which } => _ = self.choose(which).map(|handle| self.free(handle)),
            Op::Thin { step } => {
                let dead: Vec<_> = self.live.iter().step_by(1 + usize::from(step % 8)).copied().collect();
                dead.into_iter().for_each(|handle| self.free(handle));
            }
            Op::Write { which, len } => self.write(which, len.into()),
            Op::Read { which } => _ = self.choose(which).map(|handle| self.verify(handle)),
            Op::Pin { which } => self.pin(which),
            Op::Unpin { which } => self.unpin(which.into()),
            Op::Forge { which, bit } => self.forge(which, bit),
            Op::Compact { budget } => {
                let all = Budget { objects: if budget == 255 { usize::MAX } else { budget.into() } };
                let done = pool.compact(all);
                assert!(done.done || budget < 255);
            }
            Op::Give { back } => _ = if back & 1 == 0 { pool.punch() } else { pool.trim() },
            Op::Check => self.check(),
            Op::Fail(plan) => {
                self.failing = plan != Plan::Never;
                self.world.plan(plan);
            }
        }
    }

    fn choose(&self, which: u16) -> Option<Handle> {
        (!self.live.is_empty()).then(|| self.live[usize::from(which) % self.live.len()])
    }

    fn insert(&mut self, size: usize, seed: u8) {
        if self.live.len() >= OBJECTS {
            return;
        }
        let object = Object { size, seed, over: 0, new: 0 };
        let bytes: Vec<u8> = (0..size).map(|at| object.byte(at)).collect();
        match self.world.it.insert(&bytes) {
            Ok(handle) => {
                assert!((1..=4096).contains(&size));
                assert!(self.objects.insert(handle, object).is_none(), "one handle for two");
                self.live.push(handle);
            }
            Err(AllocError::Size) => assert!(!(1..=4096).contains(&size)),
            Err(_) => assert!(self.failing, "refused without need"),
        }
    }

    fn free(&mut self, handle: Handle) {
        self.verify(handle);
        assert_eq!(self.world.it.free(handle), Ok(()));
        self.objects.remove(&handle);
        self.live.retain(|other| *other != handle);
        assert_eq!(self.world.it.read(handle).err(), Some(HandleError::Stale));
    }

    fn write(&mut self, which: u16, len: usize) {
        let Some(handle) = self.choose(which) else { return };
        let pinned = self.guards.iter().any(|guard| guard.0 == handle);
        let object = self.objects.get_mut(&handle).expect("live");
        // An object is of two seeds at most: the last write must cover the one before.
        let next = Object { over: len.max(object.over), new: object.new.wrapping_add(1), ..*object };
        let bytes: Vec<u8> = (0..next.over.max(len)).map(|at| next.byte(at)).collect();
        let expected = match () {
            () if pinned => Err(HandleError::Pinned),
            () if bytes.len() > object.size => Err(HandleError::TooLong),
            () => Ok(()),
        };
        assert_eq!(self.world.it.write(handle, &bytes), expected);
        if expected.is_ok() {
            *object = next;
        }
        self.verify(handle);
    }

    fn verify(&self, handle: Handle) {
        let object = self.objects[&handle];
        assert_eq!(self.world.it.size(handle), Ok(object.size));
        if self.guards.iter().filter(|guard| guard.0 == handle).count() < 126 {
            object.is(&self.world.it.read(handle).expect("live"));
        }
    }

    fn pin(&mut self, which: u16) {
        let Some(handle) = self.choose(which) else { return };
        let pins = self.guards.iter().filter(|guard| guard.0 == handle).count();
        match self.world.it.read(handle) {
            Ok(guard) if self.guards.len() < GUARDS => self.guards.push((handle, guard, self.objects[&handle])),
            Ok(_) => {}
            Err(error) => assert_eq!((error, pins), (HandleError::Pinned, 126)),
        }
    }

    fn unpin(&mut self, which: usize) {
        if !self.guards.is_empty() {
            let (_, guard, object) = self.guards.swap_remove(which % self.guards.len());
            object.is(&guard);
        }
    }

    fn forge(&mut self, which: u16, bit: u8) {
        let bits = self.choose(which).map_or(u64::from(which), |handle| handle.to_bits() ^ (1 << (bit % 64)));
        let Some(handle) = Handle::from_bits(bits) else { return };
        match self.objects.get(&handle) {
            Some(_) => self.verify(handle),
            None => {
                assert_eq!(self.world.it.read(handle).err(), Some(HandleError::Stale));
                assert_eq!(self.world.it.write(handle, &[0]), Err(HandleError::Stale));
                assert_eq!(self.world.it.free(handle), Err(HandleError::Stale));
            }
        }
    }

    fn check(&self) {
        self.world.it.check().expect("sound");
        let dying = self.guards.iter().filter(|guard| !self.objects.contains_key(&guard.0)).map(|guard| guard.0);
        let dying: std::collections::HashSet<_> = dying.collect();
        assert_eq!(self.world.it.stats().objects, self.live.len() + dying.len());
    }

    fn finish(mut self) {
        self.check();
        while !self.guards.is_empty() {
            self.unpin(0);
        }
        for handle in std::mem::take(&mut self.live) {
            self.free(handle);
        }
        self.world.plan(Plan::Never);
        self.world.it.trim();
        self.check();
        let stats = self.world.it.stats();
        assert_eq!((stats.objects, stats.requested, stats.resident), (0, 0, 0));
    }
}
