//! Failures by plan: which calls to the system fail, and how many did.

use crate::sync::{AtomicU32, AtomicU64, Ordering, const_fn};

/// The calls to the system that can be told to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Call {
    /// [`PageSource::reserve`](super::PageSource::reserve)
    Reserve = 0,
    /// [`PageSource::commit`](super::PageSource::commit)
    Commit = 1,
    /// [`PageSource::map`](super::PageSource::map)
    Map = 2,
    /// [`PageSource::purge`](super::PageSource::purge)
    Purge = 3,
    /// [`PageSource::remap`](super::PageSource::remap)
    Remap = 4,
    /// [`PageSource::unmap`](super::PageSource::unmap)
    Unmap = 5,
    /// `membarrier`, which is no call of a source.
    Membarrier = 6,
}

impl Call {
    /// Every call of [`PageSource`](super::PageSource).
    pub const ALL: [Self; 6] = [Self::Reserve, Self::Commit, Self::Map, Self::Purge, Self::Remap, Self::Unmap];
}

/// Which calls fail. Calls are numbered from 0, all kinds together, since the plan was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// None.
    Never,
    /// Call number `n` alone.
    Nth(u64),
    /// Every call from number `n` on.
    From(u64),
    /// Every call of one kind.
    Kind(Call),
    /// One call in `one_in`, drawn from `seed`.
    Random {
        /// Seed of the draw.
        seed: u64,
        /// Mean distance of failures.
        one_in: u64,
    },
}

/// A plan, and what came of it.
#[derive(Debug, Default)]
pub struct Faults {
    mode: AtomicU32,
    argument: AtomicU64,
    seed: AtomicU64,
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Faults {
    const_fn! {
        /// No failures yet.
        #[must_use]
        pub const fn new() -> Self {
            Self {
                mode: AtomicU32::new(0),
                argument: AtomicU64::new(0),
                seed: AtomicU64::new(0),
                calls: AtomicU64::new(0),
                failures: AtomicU64::new(0),
            }
        }
    }

    /// Follows `plan` from now on, counting calls from 0.
    pub fn plan(&self, plan: Plan) {
        let (mode, argument, seed) = match plan {
            Plan::Never => (0, 0, 0),
            Plan::Nth(n) => (1, n, 0),
            Plan::From(n) => (2, n, 0),
            Plan::Kind(call) => (3, call as u64, 0),
            Plan::Random { seed, one_in } => (4, one_in.max(1), seed),
        };
        self.argument.store(argument, Ordering::Relaxed);
        self.seed.store(seed, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        self.mode.store(mode, Ordering::Relaxed);
    }

    /// Calls since the plan was made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls failed on purpose, ever.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Counts a call; true if it is to fail.
    pub(crate) fn fails(&self, call: Call) -> bool {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let argument = self.argument.load(Ordering::Relaxed);
        let fails = match self.mode.load(Ordering::Relaxed) {
            1 => number == argument,
            2 => number >= argument,
            3 => call as u64 == argument,
            4 => mix(self.seed.load(Ordering::Relaxed) ^ number).is_multiple_of(argument),
            _ => false,
        };
        self.failures.fetch_add(u64::from(fails), Ordering::Relaxed);
        fails
    }
}

/// splitmix64's finaliser.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
