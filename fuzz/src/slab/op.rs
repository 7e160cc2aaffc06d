//! What can be done with caches of kmem-slab.

use crate::decode::{Failing, size};
use arbitrary::{Arbitrary, Result, Unstructured};
use kmem_base::source::Plan;
use kmem_slab::{Flags, Front};

/// What a cache is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) size: usize,
    pub(super) align: usize,
    pub(super) flags: Flags,
    pub(super) front: Option<Front>,
    pub(super) constructed: bool,
    pub(super) destructor: bool,
    /// The general cache for that size instead.
    pub(super) general: bool,
}

/// The first number says which cache.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Create(u8, Shape),
    Destroy(u8),
    Alloc(u8),
    AllocBulk(u8, u16),
    Free(u8, u16),
    FreeBulk(u8, u16),
    /// Sets objects aside in a mempool.
    Pool(u8, u16),
    /// Takes one of the pool.
    Draw(u8),
    /// Gives one back to it.
    Return(u8, u16),
    Unpool(u8),
    /// Limit, batch, shared; true: by a line of text.
    Tune(u8, u16, u16, u16, bool),
    Debug(u8, Flags),
    /// After so many calls the constructor (or the destructor) unwinds, once.
    Fuse(u8, bool, u8),
    Shrink(u8),
    Trim,
    TrimSlabs,
    Reap,
    /// Begins to read type-safe objects.
    Pin,
    /// Ends the oldest such reader.
    Unpin,
    /// The thread is on that CPU from now on, where rows are locked.
    Move(u8),
    Check,
    Fail(Plan),
}

const DEBUG: [Flags; 8] =
    [Flags::NONE, Flags::RED_ZONE, Flags::POISON, Flags::STORE_USER, Flags::CHECKS, Flags::DEBUG, Flags::NONE, Flags::NONE];

impl<'a> Arbitrary<'a> for Shape {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (shape, size) = (u.arbitrary::<u16>()?, size(u, 18)?);
        let align = 1 << (u.arbitrary::<u8>()? % 32).saturating_sub(14);
        let has = |bit: u16, flag: Flags| if shape & bit != 0 { flag } else { Flags::NONE };
        let flags = has(1, Flags::HWCACHE_ALIGN) | has(2, Flags::RECLAIM_ACCOUNT) | has(4, Flags::TYPESAFE);
        let constructed = shape & 8 != 0;
        let front = [None, Some(Front::Arrays), Some(Front::Magazines), None][usize::from(shape >> 5 & 3)];
        Ok(Shape {
            size: if shape >> 11 == 0 { 0 } else { size },
            align,
            flags: flags | DEBUG[usize::from(shape >> 7 & 7)],
            front,
            constructed,
            destructor: constructed && shape & 16 != 0,
            general: shape >> 10 & 7 == 7,
        })
    }
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (kind, at) = (u.arbitrary::<u8>()? % 56, u.arbitrary::<u8>()?);
        // The upper bits of `at` vary what has a few variants only.
        let variant = usize::from(at >> 3);
        Ok(match kind {
            0..=4 => Op::Create(at, u.arbitrary()?),
            5 | 6 => Op::Destroy(at),
            7..=15 => Op::Alloc(at),
            16..=20 => Op::AllocBulk(at, u.arbitrary::<u16>()? % 1500),
            21..=26 => Op::Free(at, u.arbitrary()?),
            27..=31 => Op::FreeBulk(at, u.arbitrary()?),
            32 => Op::Pool(at, u.arbitrary::<u16>()? % 600),
            33 => Op::Draw(at),
            34 => Op::Return(at, u.arbitrary()?),
            35 => Op::Unpool(at),
            36 | 37 => {
                let (limit, batch, shared) = u.arbitrary::<(u8, u8, u8)>()?;
                let large = |value: u8| u16::from(value) * if variant & 16 != 0 { 40 } else { 1 };
                Op::Tune(at, large(limit), large(batch), u16::from(shared % 16), variant & 8 != 0)
            }
            38 | 39 => Op::Debug(at, DEBUG[variant % DEBUG.len()]),
            40 | 41 => Op::Fuse(at, variant.is_multiple_of(2), u.arbitrary()?),
            42 => Op::Shrink(at),
            43 if variant.is_multiple_of(2) => Op::Trim,
            43 => Op::TrimSlabs,
            44..=47 => Op::Reap,
            48 => Op::Pin,
            49 => Op::Unpin,
            50 | 51 => Op::Move(at),
            52 => Op::Check,
            _ => Op::Fail(u.arbitrary::<Failing>()?.0),
        })
    }
}
