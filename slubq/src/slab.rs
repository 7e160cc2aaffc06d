//! The slab: which of its objects are free, and who must do something about it. Theory 3.
//!
//! Two things are shared by everyone who frees and the one who takes: a bitmap of free objects, and the state word `{free, listed}` in
//! the page descriptor. Taking happens under the lock of the slab's shard, or while the slab is nobody else's; freeing takes no lock:
//!
//! ```text
//! put:  bits |= mask, summary |= bit     then, last,  state.free += k
//! take: bits &= !mask, summary &= !bit   then         state.free -= k
//! ```
//!
//! So `free` counts the puts that are over, never more than the bits that are set (I2); it is negative for a moment when a take was
//! quicker than the puts that it took from. The three transitions each have one actor:
//!
//! * the put that brings `free` of an unlisted slab above 0 is the one that must list it (I3): until it does, nobody can take from it;
//! * the take that leaves `{free: 0, listed}` unlists it, by a compare-and-swap that fails if a put came in between;
//! * a slab is released only when it is listed, `free` says that the puts of all its objects are over, and it is not marked (I4). Counting
//!   is the last that a put does to a slab, so that nobody touches it afterwards. The put that brings `free` to all objects marks it, so
//!   that it cannot be released, and its pages become something else, before that thread has had its look at it.
//!
//! Objects that sit in a queue are in use as far as the slab knows: their bits are clear.

use crate::geometry::Geometry;
use crate::put::Put;
use core::ptr::NonNull;
use kmem_base::fault::Fault;
use kmem_base::pages::Page;
use kmem_base::sync::{AtomicU64, Ordering};

/// The state word, a value with pure transitions.
///
/// | bits | field | meaning |
/// |---|---|---|
/// | 0 | listed | on the partial list of its home shard |
/// | 1 | marked | a put is about to see whether the slab can be released |
/// | 2..32 | free | objects whose puts are over, less those taken; signed |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State(u32);

impl State {
    const LISTED: u32 = 1;
    const MARKED: u32 = 2;
    const ONE: u32 = 4;

    /// A slab on no list with `free` free objects.
    #[must_use]
    pub const fn unlisted(free: u32) -> Self {
        Self(free * Self::ONE)
    }

    /// Free objects; negative while a take is ahead of the puts that it took from.
    #[must_use]
    pub const fn free(self) -> i32 {
        self.0 as i32 >> 2
    }

    /// True if on its shard's partial list.
    #[must_use]
    pub const fn is_listed(self) -> bool {
        self.0 & Self::LISTED != 0
    }

    /// The same slab on the list.
    #[must_use]
    pub const fn listed(self) -> Self {
        Self(self.0 | Self::LISTED)
    }

    /// With `count` fewer free objects.
    #[must_use]
    const fn take(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count * Self::ONE))
    }

    /// With `count` more free objects, of `objects` in all, and what the thread that put them back must do.
    #[must_use]
    const fn put(self, count: u32, objects: u32) -> (Self, Duty) {
        let new = Self(self.0.wrapping_add(count * Self::ONE));
        if !self.is_listed() && self.free() <= 0 && new.free() > 0 {
            (new, Duty::List)
        } else if self.0 & (Self::LISTED | Self::MARKED) == Self::LISTED && new.free() == objects as i32 {
            (Self(new.0 | Self::MARKED), Duty::Reconsider)
        } else {
            (new, Duty::None)
        }
    }
}

/// What the thread that put objects back must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// Nothing.
    None,
    /// List the slab: it was full and on no list.
    List,
    /// See whether the slab can be released: all its objects were free. It is marked, and stays a slab until the mark is gone.
    Reconsider,
}

/// A slab, by its descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Slab<'a> {
    page: &'a Page,
    geometry: &'a Geometry,
}

impl<'a> Slab<'a> {
    /// The slab that starts at `page`.
    ///
    /// # Safety
    /// `page` is the first of `geometry.pages` pages of a slab with that geometry, and stays so for `'a`.
    pub const unsafe fn new(page: &'a Page, geometry: &'a Geometry) -> Self {
        Self { page, geometry }
    }

    pub(crate) const fn geometry(&self) -> &'a Geometry {
        self.geometry
    }

    pub(crate) fn object(&self, index: u32) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut::<u8>(self.page.address()).wrapping_add(self.geometry.offset(index))
    }

    /// Its descriptor.
    #[must_use]
    pub const fn page(&self) -> &'a Page {
        self.page
    }

    /// The state word. Acquire pairs with the Release of every transition.
    #[must_use]
    pub fn state(&self) -> State {
        State(self.page.state.load(Ordering::Acquire))
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        if self.geometry.has_summary() {
            let at = self.page.address() + index * size_of::<AtomicU64>();
            // SAFETY: the words lie in the slab before its first object, and are only accessed atomically.
            return unsafe { NonNull::new_unchecked(core::ptr::with_exposed_provenance_mut(at)).as_ref() };
        }
        &self.page.bits[index]
    }

    /// Makes every object free. The slab is nobody else's yet.
    pub fn fill(&self) {
        let words = self.geometry.words() as usize;
        for index in 0..words {
            let objects = (self.geometry.objects as usize - index * 64).min(64);
            self.word(index).store(u64::MAX >> (64 - objects), Ordering::Relaxed);
        }
        if self.geometry.has_summary() {
            for (index, summary) in self.page.bits.iter().enumerate() {
                let full = words.saturating_sub(index * 64).min(64) as u32;
                summary.store(u64::MAX.checked_shr(64 - full).unwrap_or(0), Ordering::Relaxed);
            }
        }
        self.page.state.store(State::unlisted(self.geometry.objects).0, Ordering::Release);
    }

    /// Takes free objects into `out`, lowest address first, until it is full or none are left; returns how many, and the state that
    /// this left behind: of an unlisted slab, the taker must list it if that has free objects, and a later `put` must if it has none.
    ///
    /// One operation per word of the bitmap. If the request ends inside a cache line and more than one object was taken, it ends before
    /// that line instead, so that the line is not shared with whoever takes the rest. The caller holds the shard's lock, or the slab is
    /// nobody else's.
    pub fn take(&self, out: &mut [*mut u8]) -> (usize, State) {
        let taken = if self.geometry.has_summary() { self.take_by_summary(out) } else { self.take_inline(out) };
        // What is used again is not at rest, and the memory of its holes comes back. Relaxed: guarded as taking is.
        if self.page.seen.load(Ordering::Relaxed) != 0 {
            self.page.seen.store(0, Ordering::Relaxed);
        }
        let old = State(self.page.state.fetch_sub(taken as u32 * State::ONE, Ordering::AcqRel));
        (taken, old.take(taken as u32))
    }

    fn take_inline(&self, out: &mut [*mut u8]) -> usize {
        let mut taken = 0;
        for index in 0..self.geometry.words() as usize {
            let (more, rest) = self.take_word(index, &mut out[taken..]);
            taken += more;
            if rest {
                break;
            }
        }
        taken
    }

    fn take_by_summary(&self, out: &mut [*mut u8]) -> usize {
        let mut taken = 0;
        for index in 0..self.page.bits.len() {
            let words = self.page.bits[index].load(Ordering::Acquire);
            let mut left = words;
            while left != 0 {
                let (more, rest) = self.take_word(index * 64 + left.trailing_zeros() as usize, &mut out[taken..]);
                taken += more;
                if rest {
                    self.settle(index, words & !left);
                    return taken;
                }
                left &= left - 1;
            }
            self.settle(index, words);
        }
        taken
    }

    /// Clears the summary bits of `words`, which have been emptied, but for those that a `put` has filled meanwhile.
    fn settle(&self, index: usize, words: u64) {
        if words == 0 {
            return;
        }
        // AcqRel pairs with the same in `set`: if that came first, the loads below see its bits.
        self.page.bits[index].fetch_and(!words, Ordering::AcqRel);
        let (mut left, mut filled) = (words, 0);
        while left != 0 {
            let bit = left & left.wrapping_neg();
            if self.word(index * 64 + left.trailing_zeros() as usize).load(Ordering::Acquire) != 0 {
                filled |= bit;
            }
            left ^= bit;
        }
        if filled != 0 {
            self.page.bits[index].fetch_or(filled, Ordering::AcqRel);
        }
    }

    /// Takes objects of one word; returns how many, and whether some had to stay behind.
    fn take_word(&self, index: usize, out: &mut [*mut u8]) -> (usize, bool) {
        let word = self.word(index);
        // Acquire pairs with the Release in `set`: what the last owner wrote to an object comes before what the next one does.
        let bits = word.load(Ordering::Acquire);
        let size = self.geometry.size as usize;
        let first = self.object(index as u32 * 64);
        if bits == u64::MAX && out.len() >= 64 {
            let mut object = first;
            for place in &mut out[..64] {
                *place = object;
                object = object.wrapping_add(size);
            }
            word.fetch_and(0, Ordering::Relaxed);
            return (64, false);
        }
        let (mut left, mut taken) = (bits, 0);
        while left != 0 && taken < out.len() {
            out[taken] = first.wrapping_add(left.trailing_zeros() as usize * size);
            left &= left - 1;
            taken += 1;
        }
        let (left, taken) = self.whole_lines(bits, left, taken);
        // Only the taker clears bits, so that those it saw are still there.
        if taken > 0 {
            word.fetch_and(!(bits & !left), Ordering::Relaxed);
        }
        (taken, left != 0)
    }

    /// Puts the objects of the last cache line back into `left` if others of that line stay behind.
    fn whole_lines(&self, bits: u64, left: u64, taken: usize) -> (u64, usize) {
        let line = u64::from(self.geometry.line);
        if left == 0 || line == 1 || taken == 0 {
            return (left, taken);
        }
        let start = u64::from(left.trailing_zeros()) / line * line;
        let split = bits & !left & (u64::MAX << start);
        let keep = split.count_ones() as usize;
        if keep == 0 || keep == taken { (left, taken) } else { (left | split, taken - keep) }
    }

    /// Puts `objects` back, all of this slab. Returns what is to be done about the slab, which may be gone as soon as this returns
    /// [`Duty::None`].
    ///
    /// # Errors
    /// [`Fault::Misaligned`] or [`Fault::DoubleFree`] and the object; the slab is then in no state to go on with.
    pub fn put(&self, objects: &[*mut u8]) -> Result<Duty, (Fault, *mut u8)> {
        let (mut put, mut rest) = (Put::into(*self), objects);
        while !rest.is_empty() {
            rest = &rest[put.add(rest)?..];
        }
        Ok(put.finish())
    }

    /// The last touch of a put: `count` objects more are free.
    pub(crate) fn count(&self, count: u32) -> Duty {
        let mut old = self.page.state.load(Ordering::Relaxed);
        loop {
            let (new, duty) = State(old).put(count, self.geometry.objects);
            // AcqRel: whoever finds the slab entirely free sees what was done before.
            match self.page.state.compare_exchange_weak(old, new.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return duty,
                Err(now) => old = now,
            }
        }
    }

    /// Takes the mark of [`Duty::Reconsider`] away; the caller holds the shard's lock.
    pub fn unmark(&self) {
        self.page.state.fetch_and(!State::MARKED, Ordering::AcqRel);
    }

    /// Sets free bits; returns those that were set already.
    #[inline]
    pub(crate) fn set(&self, index: usize, mask: u64) -> u64 {
        // Release pairs with the Acquire in `take_word`.
        let old = self.word(index).fetch_or(mask, Ordering::AcqRel);
        if old == 0 && self.geometry.has_summary() {
            self.page.bits[index / 64].fetch_or(1 << (index % 64), Ordering::AcqRel);
        }
        old & mask
    }

    /// Marks the slab listed; the caller holds the shard's lock and lists it. Returns the state with the mark.
    pub fn mark_listed(&self) -> State {
        State(self.page.state.fetch_or(State::LISTED, Ordering::AcqRel)).listed()
    }

    /// Takes the mark away; the caller holds the shard's lock and has taken the slab off the list.
    pub fn mark_unlisted(&self) {
        self.page.state.fetch_and(!State::LISTED, Ordering::AcqRel);
    }

    /// Takes the mark away if no object is free. True if so: then the caller, who holds the shard's lock, takes it off the list.
    #[must_use]
    pub fn unlist_if_full(&self) -> bool {
        let full = State::unlisted(0);
        self.page.state.compare_exchange(full.listed().0, full.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// True if every object is free, no put is under way, and none is about to look (I4). The caller holds the shard's lock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state() == State::unlisted(self.geometry.objects).listed()
    }

    /// Bits set: free objects that a `take` could have now. Acquire, as for a taker.
    #[must_use]
    pub fn bits_set(&self) -> u32 {
        (0..self.geometry.words() as usize).map(|index| self.free_word(index).count_ones()).sum()
    }

    /// Free bits of the objects from `64 * index` on. Acquire, as for a taker.
    #[must_use]
    pub fn free_word(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// True if object `index` is free.
    #[must_use]
    pub fn is_free(&self, index: u32) -> bool {
        (self.free_word(index as usize / 64) >> (index % 64)) & 1 == 1
    }

    /// I2 exactly, and the summary agrees with the words. When nothing runs.
    #[must_use]
    pub fn check(&self) -> bool {
        let summary = |index: usize| (self.page.bits[index / 64].load(Ordering::Relaxed) >> (index % 64)) & 1 == 1;
        let words = 0..self.geometry.words() as usize;
        self.state().free() == self.bits_set() as i32
            && (!self.geometry.has_summary()
                || words.into_iter().all(|index| summary(index) || self.word(index).load(Ordering::Relaxed) == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_says_what_was_put_into_it() {
        for free in [0, 1, 7, 8065] {
            let state = State::unlisted(free);
            assert_eq!((state.free(), state.is_listed()), (free as i32, false));
            assert_eq!((state.listed().free(), state.listed().is_listed()), (free as i32, true));
            assert_eq!(state.listed().listed(), state.listed());
            for taken in [0, 1, 9] {
                assert_eq!((state.take(taken).free(), state.listed().take(taken).is_listed()), (free as i32 - taken as i32, true));
            }
        }
    }

    /// Theory 3.5: one actor for each transition, whatever a take that was ahead has left.
    #[test]
    fn a_put_lists_or_reconsiders_exactly_at_its_transition() {
        const OBJECTS: i32 = 10;
        for before in -4..=OBJECTS {
            for count in 1..=OBJECTS - before {
                let (after, count) = (before + count, count as u32);
                let state = if before < 0 { State::unlisted(0).take(-before as u32) } else { State::unlisted(before as u32) };
                let (new, duty) = state.put(count, OBJECTS as u32);
                assert_eq!((new.free(), new.is_listed()), (after, false));
                assert_eq!(duty, if before <= 0 && after > 0 { Duty::List } else { Duty::None }, "{before} to {after}");
                let (new, duty) = state.listed().put(count, OBJECTS as u32);
                assert_eq!((new.free(), new.is_listed()), (after, true));
                let all = after == OBJECTS;
                assert_eq!(duty, if all { Duty::Reconsider } else { Duty::None }, "{before} to {after}, listed");
                assert_eq!(new.0 & State::MARKED != 0, all);
                let marked = State(state.listed().0 | State::MARKED);
                let (new, duty) = marked.put(count, OBJECTS as u32);
                assert_eq!((new.free(), new.0 & State::MARKED != 0, duty), (after, true, Duty::None), "somebody else looks");
            }
        }
    }
}
