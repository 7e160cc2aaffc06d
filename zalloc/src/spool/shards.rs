//! A pool without its page source's type: shards, and who uses which (theory 3.8).

use super::config::{BUSY, MAX_PLACES, MAX_SHARDS, MAX_SIZE, PAGE};
use super::error::AllocError;
use super::handle::Handle;
use super::quota::Quota;
use super::shard::{COMPACTION, Shard, Taken};
use super::tag;
use super::word::Slot;
use core::ptr::{NonNull, null_mut};
use kmem_base::filled;
use kmem_base::source::PageSource;
use kmem_base::sync::{AtomicPtr, AtomicU32, Lock, Ordering};

/// The shards of a pool.
#[derive(Debug)]
pub(super) struct Shards {
    tag: u16,
    /// Shards that there may be.
    most: u32,
    pub(super) quota: Quota,
    /// Shards that threads begin to look at: one until threads meet there.
    width: AtomicU32,
    busy: AtomicU32,
    growing: Lock<(), COMPACTION>,
    shards: [AtomicPtr<Shard>; MAX_SHARDS],
}

impl Shards {
    pub(super) fn new(most: usize, limit: usize) -> Self {
        Self {
            tag: tag::next(),
            most: most.clamp(1, MAX_SHARDS) as u32,
            quota: Quota::new(limit / PAGE),
            width: AtomicU32::new(1),
            busy: AtomicU32::new(0),
            growing: Lock::new(()),
            shards: filled![AtomicPtr::new(null_mut()); MAX_SHARDS],
        }
    }

    #[inline]
    fn shard(&self, number: usize) -> Option<&Shard> {
        // Acquire pairs with the Release in `grow`: the shard is whole.
        let shard = self.shards.get(number)?.load(Ordering::Acquire);
        // SAFETY: null, or made by `grow` and never given back before `unmap`.
        unsafe { shard.as_ref() }
    }

    /// Every shard there is.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard> {
        (0..MAX_SHARDS).filter_map(|number| self.shard(number))
    }

    /// Where a handle leads, if it is one of this pool: to a slot that may have had another object since.
    #[inline]
    pub(super) fn find(&self, handle: Handle) -> Option<(&Shard, &Slot)> {
        if handle.tag() != self.tag || handle.generation().0 == 0 {
            return None;
        }
        let shard = self.shard(handle.shard())?;
        Some((shard, shard.slot(handle.slot())?))
    }

    /// A new object, as if being written if `seized`. Where it is, with its handle.
    pub(super) fn take(&self, size: usize, seized: bool, source: &dyn PageSource) -> Result<(&Shard, Taken, Handle), AllocError> {
        if size == 0 || size > MAX_SIZE {
            return Err(AllocError::Size);
        }
        match self.take_somewhere(size, seized, source) {
            // Free places have memory that counts.
            Err(AllocError::Limit) if self.give_back(0, source) > 0 => self.take_somewhere(size, seized, source),
            taken => taken,
        }
    }

    fn take_somewhere(&self, size: usize, seized: bool, source: &dyn PageSource) -> Result<(&Shard, Taken, Handle), AllocError> {
        let home = self.home();
        let mut refused = AllocError::Memory;
        for number in (home..self.most).chain(0..home) {
            let Some(shard) = self.shard(number as usize).or_else(|| self.grow(number as usize, source)) else { break };
            let taken = shard.take(size, seized, &mut shard.lock_or(|| self.met()), &self.quota, source);
            match taken {
                Ok(taken) => {
                    let handle = Handle::new(self.tag, number as usize, taken.slot, taken.generation);
                    return Ok((shard, taken, handle));
                }
                // Another shard may have an object in a page that is there.
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The shard that this thread looks at first: two threads that run at the same time find different ones, once there are enough.
    #[inline]
    fn home(&self) -> u32 {
        // Relaxed, here and below: any value will do.
        match self.width.load(Ordering::Relaxed) {
            1 => 0,
            width => cpu() % width,
        }
    }

    /// Two threads have met in a shard: that many times, and there is one more.
    fn met(&self) {
        if self.busy.fetch_add(1, Ordering::Relaxed) % BUSY == BUSY - 1 {
            let most = self.most;
            let _ = self.width.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |width| (width < most).then_some(width + 1));
        }
    }

    #[cold]
    fn grow(&self, number: usize, source: &dyn PageSource) -> Option<&Shard> {
        let _growing = self.growing.lock();
        if let Some(shard) = self.shard(number) {
            return Some(shard);
        }
        // A place has at least one page, or none: so many are enough for all pages, and as many again for what is free.
        let places = u32::try_from(self.quota.limit().saturating_mul(2)).unwrap_or(MAX_PLACES);
        let shard = Shard::create(source, places.min(MAX_PLACES))?;
        // Release pairs with the Acquire in `shard`.
        self.shards[number].store(shard.as_ptr(), Ordering::Release);
        self.shard(number)
    }

    /// Gives the memory of free places back, but for `keep` pages in each shard. Returns bytes.
    pub(super) fn give_back(&self, keep: u32, source: &dyn PageSource) -> usize {
        self.iter().map(|shard| shard.give_back(keep, &self.quota, source)).sum()
    }

    /// Unmaps everything.
    pub(super) fn unmap(&mut self, source: &dyn PageSource) {
        for shard in &self.shards {
            // Relaxed: `self` is borrowed mutably.
            if let Some(shard) = NonNull::new(shard.load(Ordering::Relaxed)) {
                // SAFETY: made by `grow` of this source; guards borrow the pool, so there is none.
                unsafe { Shard::destroy(shard, source) };
            }
        }
    }
}

/// The CPU that this thread ran on a moment ago.
#[cfg(target_os = "linux")]
fn cpu() -> u32 {
    // SAFETY: takes nothing.
    unsafe { libc::sched_getcpu() }.unsigned_abs()
}

/// A number that threads mostly do not share, where there is none of the CPU: what part of memory their stack is in.
#[cfg(not(target_os = "linux"))]
fn cpu() -> u32 {
    let here = 0_u8;
    (core::ptr::from_ref(&here).addr() >> 16) as u32
}
