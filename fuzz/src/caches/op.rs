//! What can be done with caches.

use crate::decode::{Failing, size};
use arbitrary::{Arbitrary, Result, Unstructured};
use kmem_base::source::Plan;
use kmem_slubq::{Flags, Level, Tunable};

/// What a cache is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) size: usize,
    pub(super) align: usize,
    pub(super) flags: Flags,
    pub(super) constructed: bool,
    pub(super) destructor: bool,
}

/// The first number says which cache.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Create(u8, Shape),
    Destroy(u8),
    /// True: without waiting.
    Alloc(u8, bool),
    AllocBulk(u8, u16),
    Free(u8, u16),
    FreeBulk(u8, u16),
    Reserve(u8, u16),
    /// An object out of the last reservation.
    Draw(u8),
    Unreserve(u8),
    Tune(u8, Tunable, u32),
    /// After so many calls the constructor (or the destructor) unwinds, once.
    Fuse(u8, bool, u8),
    Expire(u8, Level),
    Shrink(u8),
    Trim(Level),
    Decay,
    Check,
    Fail(Plan),
}

impl<'a> Arbitrary<'a> for Shape {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (shape, size) = (u.arbitrary::<u8>()?, size(u, 18)?);
        let align = 1 << (u.arbitrary::<u8>()? % 32).saturating_sub(14);
        let has = |bit: u8, flag: Flags| if shape & bit != 0 { flag } else { Flags::NONE };
        let flags = has(1, Flags::HWCACHE_ALIGN) | has(2, Flags::LOWMEM) | has(4, Flags::NO_MERGE);
        let constructed = shape & 8 != 0;
        Ok(Shape { size, align, flags, constructed, destructor: constructed && shape & 16 != 0 })
    }
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (kind, at) = (u.arbitrary::<u8>()? % 48, u.arbitrary::<u8>()?);
        // The upper bits of `at` vary what has a few variants only.
        let variant = usize::from(at >> 3);
        let level = [Level::Slabs, Level::Shared, Level::Queues][variant % 3];
        Ok(match kind {
            0..=5 => Op::Create(at, u.arbitrary()?),
            6 | 7 => Op::Destroy(at),
            8..=15 => Op::Alloc(at, variant == 31),
            16..=20 => Op::AllocBulk(at, u.arbitrary::<u16>()? % 1500),
            21..=26 => Op::Free(at, u.arbitrary()?),
            27..=31 => Op::FreeBulk(at, u.arbitrary()?),
            32 | 33 => Op::Reserve(at, u.arbitrary::<u16>()? % 5002),
            34 => Op::Draw(at),
            35 => Op::Unreserve(at),
            36 | 37 => {
                let value = u32::from(u.arbitrary::<u16>()?);
                Op::Tune(at, Tunable::ALL[variant % 4], if value < 12_000 { value } else { value % 256 })
            }
            38 | 39 => Op::Fuse(at, variant % 2 == 0, u.arbitrary()?),
            40 => Op::Expire(at, level),
            41 => Op::Shrink(at),
            42 => Op::Trim(level),
            43 | 44 => Op::Decay,
            45 => Op::Check,
            _ => Op::Fail(u.arbitrary::<Failing>()?.0),
        })
    }
}
