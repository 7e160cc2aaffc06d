//! Holes: OS pages without a live object inside partial slabs go back to the system. Theory 6.5.
//!
//! A decay pass notes in each partial slab how many objects are free. A slab from which nothing was taken, and into which little
//! was put, until the next pass is *ripe*. It is taken off its list, so that nobody can take from it; then its free objects stay
//! free, and the OS pages that hold nothing else are purged without a lock. It goes back to the end of its list: what has memory
//! behind it is handed out first.

use crate::cache::Cache;
use crate::geometry::{Geometry, MAX_SLAB_PAGES};
use crate::shard::{list_last, unlist};
use crate::slab::Slab;
use crate::slubq::Slubq;
use crate::stats::add;
use kmem_base::bitmap::{each_word, next_in};
use kmem_base::config::PAGE_SIZE;
use kmem_base::pages::{Page, PageList};
use kmem_base::source::os_page;
use kmem_base::sync::Ordering;

/// `Page::seen`: free objects that the last pass counted, ...
const COUNT: u16 = (1 << 13) - 1;
/// ... that none was taken, and few were put back, since the pass before, ...
const RIPE: u16 = 1 << 14;
/// ... that the holes which they leave have been punched.
const PUNCHED: u16 = 1 << 15;

/// One object in so many is few.
const FEW: u32 = 8;

/// Slabs off their list at a time: so many are lost to the child of a `fork` at worst.
const BATCH: u32 = 16;
/// OS pages in the largest slab, if they are as small as they get.
const MOST: usize = MAX_SLAB_PAGES * PAGE_SIZE / SMALLEST;
const SMALLEST: usize = 4096;

/// Notes what each slab of a locked list has free; those that have hardly changed since the last time become ripe.
pub(crate) fn age(partial: &PageList, geometry: &Geometry) {
    let least = os_page().div_ceil(geometry.size as usize) as u32;
    for page in partial.pages() {
        // SAFETY: a listed page starts a slab of the list's cache.
        let free = unsafe { Slab::new(page, geometry) }.state().free().max(0) as u32;
        let old = page.seen.load(Ordering::Relaxed);
        let new = look(old, free, free >= least, geometry.objects / FEW);
        if new != old {
            page.seen.store(new, Ordering::Relaxed);
        }
    }
}

/// What a pass notes of a slab with `free` free objects in which it has `seen` something before; 0 if that was before the last take.
fn look(seen: u16, free: u32, worthwhile: bool, few: u32) -> u16 {
    let count = u32::from(seen & COUNT);
    if seen & RIPE != 0 || (seen & PUNCHED != 0 && free == count) {
        return seen;
    }
    // Without a take the count only grows.
    let rested = seen != 0 && seen & PUNCHED == 0 && free.wrapping_sub(count) <= few;
    free as u16 | if rested && worthwhile { RIPE } else { 0 }
}

/// Takes a few ripe slabs off a locked list.
fn take_ripe(partial: &mut PageList, geometry: &Geometry) -> PageList {
    let (mut ripe, mut next) = (PageList::new(), partial.first());
    while let Some(page) = next.filter(|_| ripe.len() < BATCH) {
        // SAFETY: it is on this list.
        next = unsafe { partial.after(page) };
        if page.seen.load(Ordering::Relaxed) & RIPE != 0 {
            // SAFETY: a listed page starts a slab of the list's cache.
            unlist(partial, &unsafe { Slab::new(page, geometry) });
            // SAFETY: it is on no list now, and this thread's until it is listed again.
            unsafe { ripe.append(page) };
        }
    }
    ripe
}

/// OS pages of a slab that hold something.
struct Used {
    words: [u64; MOST / 64],
    /// OS pages of the slab.
    pages: usize,
    shift: u32,
}

impl Used {
    /// Of a slab whose free objects stay free.
    fn of(slab: &Slab<'_>, geometry: &Geometry) -> Self {
        let shift = os_page().max(SMALLEST).trailing_zeros();
        let mut used = Self { words: [0; MOST / 64], pages: geometry.bytes() >> shift, shift };
        for index in 0..geometry.words() {
            let objects = (geometry.objects - index * 64).min(64);
            let mut live = !slab.free_word(index as usize) & (u64::MAX >> (64 - objects));
            while live != 0 {
                let start = geometry.offset(index * 64 + live.trailing_zeros());
                used.mark(start, start + geometry.size as usize);
                live &= live - 1;
            }
        }
        if geometry.has_summary() {
            used.mark(0, geometry.first as usize);
        }
        used
    }

    fn mark(&mut self, start: usize, end: usize) {
        each_word(start >> self.shift, ((end - 1) >> self.shift) + 1, |index, mask| self.words[index] |= mask);
    }

    /// First hole from `from` on, in bytes.
    fn hole(&self, from: usize) -> Option<core::ops::Range<usize>> {
        let start = next_in(from >> self.shift, self.pages, |index| !self.words[index])?;
        let end = next_in(start, self.pages, |index| self.words[index]).unwrap_or(self.pages);
        Some(start << self.shift..end << self.shift)
    }
}

impl Slubq {
    /// Punches the ripe slabs of every cache that `wanted` selects, as long as `more` says so. Returns bytes that went back, and
    /// whether it came to the end.
    pub(crate) fn punch(&self, wanted: &dyn Fn(&Cache) -> bool, more: &mut dyn FnMut() -> bool) -> (usize, bool) {
        let mut punched = 0;
        // Free objects of a constructed cache have a state.
        let plain = |cache: &&Cache| cache.constructor.is_none() && cache.destructor.is_none() && wanted(cache);
        for cache in self.caches().filter(plain) {
            for shard in cache.shards {
                loop {
                    let mut ripe = take_ripe(&mut shard.lock(), &cache.geometry);
                    if ripe.is_empty() {
                        break;
                    }
                    while let Some(page) = ripe.pop() {
                        punched += self.punch_slab(cache, page);
                    }
                    if !more() {
                        return (punched, false);
                    }
                }
            }
        }
        (punched, true)
    }

    /// Punches a slab that is this thread's, and lists it again.
    fn punch_slab(&self, cache: &Cache, page: &Page) -> usize {
        // SAFETY: it came off a list of this cache's slabs, and as it is on none nobody can release it.
        let slab = unsafe { Slab::new(page, &cache.geometry) };
        let used = Used::of(&slab, &cache.geometry);
        let (mut from, mut punched) = (0, 0);
        while let Some(hole) = used.hole(from) {
            // SAFETY: every object that reaches into the hole was free when its bit was read, and only this thread could take it. What
            // its last owner did comes before, as reading the bit acquires what putting it back released.
            if unsafe { self.pages.punch(page, &hole) } {
                punched += hole.end - hole.start;
            }
            from = hole.end;
        }
        // What was put back meanwhile makes the count another one, and the slab ripe again in two passes.
        page.seen.store(page.seen.load(Ordering::Relaxed) & COUNT | PUNCHED, Ordering::Relaxed);
        add(&cache.counters_of(self.place()).punched, punched as u64);
        drop(list_last(cache.shards, &slab));
        punched
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_count_of_every_geometry_fits() {
        for size in (8..=Geometry::MAX_SIZE).step_by(8) {
            assert!(Geometry::new(size).objects <= u32::from(COUNT));
        }
    }

    #[test]
    fn a_slab_ripens_at_rest_is_punched_once_and_again_when_more_is_free() {
        let pass = |seen, free| look(seen, free, true, 10);
        assert_eq!(pass(0, 50), 50, "taken from since the last pass");
        assert_eq!(pass(50, 50), 50 | RIPE);
        assert_eq!(pass(50, 60), 60 | RIPE, "little was put back");
        assert_eq!(pass(50, 61), 61, "much was: it may soon be empty");
        assert_eq!(pass(50 | RIPE, 70), 50 | RIPE, "waits for its turn");
        assert_eq!(pass(50 | PUNCHED, 50), 50 | PUNCHED, "nothing new");
        assert_eq!(pass(50 | PUNCHED, 51), 51);
        assert_eq!(look(50, 50, false, 10), 50, "no whole page can be free");
        assert_eq!(pass(50, 49), 49, "a count that is ahead of its puts");
    }

    /// The plain way to do it: a byte per byte.
    fn holes_plainly(geometry: &Geometry, live: impl Fn(u32) -> bool) -> Vec<usize> {
        let mut used = std::vec![false; geometry.bytes()];
        for index in (0..geometry.objects).filter(|index| live(*index)) {
            let start = geometry.offset(index);
            used[start..start + geometry.size as usize].fill(true);
        }
        if geometry.has_summary() {
            used[..geometry.first as usize].fill(true);
        }
        let page = os_page();
        (0..geometry.bytes() / page).filter(|at| !used[at * page..(at + 1) * page].contains(&true)).collect()
    }

    #[test]
    fn holes_are_the_pages_that_no_live_object_reaches() {
        for size in [8, 64, 96, 344, 1000, 1152, 4096, 5000, 20480, 40000, Geometry::MAX_SIZE] {
            let geometry = Geometry::new(size);
            let mut memory = std::vec![0_u64; (geometry.bytes() + PAGE_SIZE) / 8];
            let start = memory.as_mut_ptr().expose_provenance().next_multiple_of(PAGE_SIZE);
            let page = Page::new();
            page.begin(kmem_base::pages::Kind::Slab, start, geometry.pages);
            // SAFETY: the slab lies in the vector.
            let slab = unsafe { Slab::new(&page, &geometry) };
            for every in [1, 2, 7, 64, 1000] {
                slab.fill();
                let mut objects = std::vec![core::ptr::null_mut(); geometry.objects as usize];
                assert_eq!(slab.take(&mut objects).0, objects.len());
                let live = |index: u32| index.is_multiple_of(every);
                let freed: Vec<_> =
                    (0..geometry.objects).filter(|index| !live(*index)).map(|index| objects[index as usize]).collect();
                freed.chunks(1).for_each(|one| assert!(slab.put(one).is_ok()));
                let used = Used::of(&slab, &geometry);
                let (mut found, mut from) = (Vec::new(), 0);
                while let Some(hole) = used.hole(from) {
                    found.extend(hole.start / os_page()..hole.end / os_page());
                    from = hole.end;
                }
                assert_eq!(found, holes_plainly(&geometry, live), "{size}, one live in {every}");
            }
        }
    }
}
