//! Working memory: one area for each thread that may compress at the same time. They are mapped when the pool is created, and begin when
//! they are first claimed, so that those that no thread ever needs take no memory (theory 4.5).

use super::settings::MOST_CODECS;
use crate::codec::Level;
use core::alloc::Layout;
use core::array::from_fn;
use core::ptr::NonNull;
use core::slice;
use kmem_base::source::{PageSource, os_page};
use kmem_base::sync::{AtomicU32, AtomicUsize, MODEL, Ordering, me, relax};

/// Most areas.
const MOST: usize = if MODEL { 2 } else { 64 };
/// In front of the packed bytes: what a record of the backing file has there.
pub(crate) const HEADROOM: usize = 128;

/// States of an area. Its codecs have not begun:
const NEW: u32 = 0;
/// They have, and nobody uses it.
const IDLE: u32 = 1;
/// Somebody's.
const CLAIMED: u32 = 2;
/// They could not begin. Not used again.
const BARREN: u32 = 3;

/// Where what lies in an area.
#[derive(Debug)]
struct Plan {
    codecs: &'static [&'static dyn crate::codec::AnyCodec],
    /// Offset of each codec's working memory.
    works: [usize; MOST_CODECS],
    packed_at: usize,
    packed: usize,
    plain_at: usize,
    plain: usize,
    /// From one area to the next.
    stride: usize,
}

/// On a line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Desk {
    state: AtomicU32,
    /// The longest data that was worked on here.
    longest: AtomicUsize,
}

impl Desk {
    fn new() -> Self {
        Self { state: AtomicU32::new(NEW), longest: AtomicUsize::new(0) }
    }

    fn become_claimed(&self, from: u32) -> bool {
        // Acquire pairs with the Release of the last user.
        self.state.compare_exchange(from, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn leave(&self, state: u32) {
        // Release pairs with the Acquire of the next user.
        self.state.store(state, Ordering::Release);
    }
}

/// All areas of a pool.
#[derive(Debug)]
pub(crate) struct Areas {
    plan: Plan,
    at: NonNull<u8>,
    count: usize,
    desks: [Desk; MOST],
}

// SAFETY: an area is used by the thread that has claimed it, and codecs' working memory is `Send`.
unsafe impl Send for Areas {}
// SAFETY: as above; `desks` let one thread claim an area at a time.
unsafe impl Sync for Areas {}

/// One area, the caller's until dropped. A thread claims one at a time, so that threads never wait for each other in a circle.
#[derive(Debug)]
pub(crate) struct Area<'a> {
    areas: &'a Areas,
    index: usize,
}

/// The parts of an area.
pub(crate) struct Parts<'a> {
    /// Room for the longest data as a codec may write it, and [`HEADROOM`] more.
    pub(crate) packed: &'a mut [u8],
    /// Room for the longest data.
    pub(crate) plain: &'a mut [u8],
    pub(crate) codecs: Codecs<'a>,
}

/// The codecs of a pool with their working memory.
pub(crate) struct Codecs<'a> {
    plan: &'a Plan,
    at: NonNull<u8>,
}

impl Plan {
    fn new(codecs: &'static [&'static dyn crate::codec::AnyCodec], longest: usize) -> Option<Self> {
        let (mut end, mut works) = (0, [0; MOST_CODECS]);
        for (codec, at) in codecs.iter().zip(&mut works) {
            let layout: Layout = codec.layout();
            if layout.align() > os_page() {
                return None;
            }
            *at = usize::next_multiple_of(end, layout.align());
            end = at.checked_add(layout.size())?;
        }
        let bound = codecs.iter().map(|codec| codec.bound(longest)).max()?.max(longest);
        let packed = bound.checked_add(HEADROOM)?;
        let packed_at = end.checked_next_multiple_of(64)?;
        let plain_at = packed_at.checked_add(packed)?.checked_next_multiple_of(64)?;
        let stride = plain_at.checked_add(longest)?.checked_next_multiple_of(os_page())?;
        Some(Self { codecs, works, packed_at, packed, plain_at, plain: longest, stride })
    }

    /// Bytes of an area that have been touched, at most, if the longest data worked on there had so many.
    fn touched(&self, longest: usize) -> usize {
        let bound = self.codecs.iter().map(|codec| codec.bound(longest)).max().unwrap_or(0).max(longest);
        let paged = |bytes: usize| bytes.next_multiple_of(os_page());
        (paged(self.packed_at) + paged(bound + HEADROOM) + paged(longest)).min(self.stride)
    }

    /// # Safety
    /// `area` is an area of this plan, the caller's, of which no codec has begun.
    unsafe fn begin(&self, area: NonNull<u8>) -> bool {
        for (number, codec) in self.codecs.iter().enumerate() {
            // SAFETY: inside the area, as the plan has it; nobody else uses it.
            if !unsafe { codec.begin(area.add(self.works[number]), self.plain) } {
                // SAFETY: those before it have begun.
                unsafe { self.end(area, number) };
                return false;
            }
        }
        true
    }

    /// # Safety
    /// The first `count` codecs of this area have begun, and nobody uses it.
    unsafe fn end(&self, area: NonNull<u8>, count: usize) {
        for (codec, at) in self.codecs.iter().zip(&self.works).take(count) {
            // SAFETY: begun, and nobody's.
            unsafe { codec.end(area.add(*at)) };
        }
    }
}

impl Areas {
    /// Areas from `source`, which [`Self::end`] gives back.
    pub(crate) fn new<S: PageSource>(
        source: &S,
        codecs: &'static [&'static dyn crate::codec::AnyCodec],
        longest: usize,
        count: usize,
    ) -> Option<Self> {
        let plan = Plan::new(codecs, longest)?;
        let count = count.clamp(1, MOST);
        let at = source.map(plan.stride.checked_mul(count)?, os_page())?;
        let areas = Self { plan, at, count, desks: from_fn(|_| Desk::new()) };
        // One at least can always be claimed.
        if !areas.begin(0) {
            // SAFETY: whole, and ours.
            unsafe { source.unmap(at, areas.mapped()) };
            return None;
        }
        Some(areas)
    }

    /// Claims a new area, lets its codecs begin, and leaves it.
    fn begin(&self, index: usize) -> bool {
        let desk = &self.desks[index];
        // Relaxed: looked at first, since it is mostly somebody's who should not be disturbed.
        if desk.state.load(Ordering::Relaxed) != NEW || !desk.become_claimed(NEW) {
            return false;
        }
        // SAFETY: claimed, and new.
        let has_begun = unsafe { self.plan.begin(self.area(index)) };
        desk.leave(if has_begun { IDLE } else { BARREN });
        has_begun
    }

    fn area(&self, index: usize) -> NonNull<u8> {
        debug_assert!(index < self.count);
        // SAFETY: inside the mapping.
        unsafe { self.at.add(index * self.plan.stride) }
    }

    /// Ends the codecs and gives the memory back.
    ///
    /// # Safety
    /// Once, with the source of [`Self::new`], and nothing of this is used afterwards.
    pub(crate) unsafe fn end<S: PageSource>(&mut self, source: &S) {
        for index in 0..self.count {
            // Relaxed: the caller's alone.
            if self.desks[index].state.load(Ordering::Relaxed) == IDLE {
                // SAFETY: all its codecs have begun, and nobody uses it.
                unsafe { self.plan.end(self.area(index), self.plan.codecs.len()) };
            }
        }
        // SAFETY: whole, and dead.
        unsafe { source.unmap(self.at, self.mapped()) };
    }

    /// Bytes mapped.
    fn mapped(&self) -> usize {
        self.plan.stride * self.count
    }

    /// Bytes of memory, at most: what has been touched.
    pub(crate) fn bytes(&self) -> usize {
        // Relaxed: a figure to be looked at.
        let begun = self.desks.iter().filter(|desk| !matches!(desk.state.load(Ordering::Relaxed), NEW | BARREN));
        begun.map(|desk| self.plan.touched(desk.longest.load(Ordering::Relaxed))).sum()
    }

    /// An area to work on `len` bytes in, waiting for one if need be. The thread begins where it found one the last time: with its own,
    /// mostly.
    pub(crate) fn claim(&self, len: usize) -> Area<'_> {
        let thread = me() >> 12;
        let first = (thread ^ thread >> 9) % self.count;
        let mut round = 0;
        loop {
            for index in (first..self.count).chain(0..first) {
                let desk = &self.desks[index];
                if desk.become_claimed(IDLE) || (self.begin(index) && desk.become_claimed(IDLE)) {
                    // Relaxed: written by whoever has claimed it.
                    if desk.longest.load(Ordering::Relaxed) < len {
                        desk.longest.store(len, Ordering::Relaxed);
                    }
                    return Area { areas: self, index };
                }
            }
            relax(&mut round);
        }
    }
}

impl Drop for Area<'_> {
    fn drop(&mut self) {
        self.areas.desks[self.index].leave(IDLE);
    }
}

impl Area<'_> {
    /// Its parts.
    pub(crate) fn parts(&mut self) -> Parts<'_> {
        let plan = &self.areas.plan;
        // SAFETY: inside the mapping, which is initialised (zeroed by the source); the three parts do not overlap; claimed by this
        // thread, and borrowed mutably.
        unsafe {
            let at = self.areas.area(self.index);
            Parts {
                packed: slice::from_raw_parts_mut(at.add(plan.packed_at).as_ptr(), plan.packed),
                plain: slice::from_raw_parts_mut(at.add(plan.plain_at).as_ptr(), plan.plain),
                codecs: Codecs { plan, at },
            }
        }
    }
}

impl Codecs<'_> {
    fn level(&self, level: usize) -> Option<(&'static dyn Level, NonNull<u8>)> {
        let codec = *self.plan.codecs.get(level)?;
        // SAFETY: inside the area.
        Some((codec, unsafe { self.at.add(self.plan.works[level]) }))
    }

    /// Compresses with codec `level`.
    pub(crate) fn compress(&mut self, level: usize, from: &[u8], to: &mut [u8]) -> Option<usize> {
        let (codec, work) = self.level(level)?;
        // SAFETY: begun before it was claimed; the area is this thread's.
        unsafe { codec.compress(work, from, to) }
    }

    /// Decompresses with codec `level`.
    pub(crate) fn decompress(&mut self, level: usize, from: &[u8], to: &mut [u8]) -> Option<usize> {
        let (codec, work) = self.level(level)?;
        // SAFETY: as above.
        unsafe { codec.decompress(work, from, to) }
    }
}
