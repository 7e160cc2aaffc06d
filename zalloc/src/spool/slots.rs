//! Slots: which are vacant, and which have had all their lives (theory 3.3). Under the shard's lock; the words themselves are
//! everybody's.

use super::config::{GROW_SLOTS, PAGE, PAGE_SLOTS};
use super::region::Region;
use super::span::NIL;
use super::word::{Generation, Slot, Word};
use kmem_base::source::PageSource;
use kmem_base::sync::{AtomicU32, MODEL, Ordering, begin};

/// The slots of a shard.
#[derive(Debug)]
pub(super) struct Slots {
    /// Vacant slots, chained by their words.
    vacant: u32,
    /// Slots that have been used, or head a page.
    pub(super) begun: u32,
    /// Slots retired, their pages not given back included.
    pub(super) retired: u32,
    /// Pages all of whose slots are retired, chained by their heads; and how many have been given back.
    dead: u32,
    pub(super) returned: u32,
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self { vacant: NIL, begun: 0, retired: 0, dead: NIL, returned: 0 }
    }

    /// Bytes of slots that have memory behind them.
    pub(super) fn bytes(&self) -> usize {
        (self.begun as usize * size_of::<Slot>()).saturating_sub(self.returned as usize * PAGE)
    }

    /// Sees to it that [`Self::take`] has a slot. `usable` are those that are writable.
    pub(super) fn ready(&self, region: &Region, usable: &AtomicU32, source: &dyn PageSource) -> bool {
        // Relaxed: written under this lock.
        let count = usable.load(Ordering::Relaxed);
        if self.vacant != NIL || self.begun < count {
            return true;
        }
        if count + GROW_SLOTS > region.slot_count() {
            return false;
        }
        let at = region.slot(count);
        // SAFETY: within the region's slots, behind the writable ones, and zero once writable.
        unsafe {
            if !source.commit(at.cast(), GROW_SLOTS as usize * size_of::<Slot>()) {
                return false;
            }
            begin(at.as_ptr(), GROW_SLOTS as usize, Slot::new);
        }
        // Release pairs with the Acquire of whoever looks a handle up: what is below is writable.
        usable.store(count + GROW_SLOTS, Ordering::Release);
        true
    }

    /// The slot that [`Self::take`] will take, after [`Self::ready`].
    pub(super) fn next(&self) -> u32 {
        match self.vacant {
            NIL if self.begun.is_multiple_of(PAGE_SLOTS) => self.begun + 1,
            NIL => self.begun,
            vacant => vacant,
        }
    }

    /// Takes a vacant slot, after [`Self::ready`]. Returns its generation.
    pub(super) fn take(&mut self, region: &Region) -> Generation {
        let index = self.next();
        if self.vacant == NIL {
            self.begun = index + 1;
            return Generation::FIRST;
        }
        let word = slot(region, index).load();
        self.vacant = word.link();
        word.generation()
    }

    /// Vacates a slot whose object is dead, or retires it.
    pub(super) fn put(&mut self, region: &Region, index: u32) {
        let own = slot(region, index);
        let Some(word) = own.load().vacate(self.vacant) else {
            debug_assert!(false, "vacated with an object");
            return;
        };
        own.store(word);
        if word == Word::NONE {
            self.retire(region, index);
        } else {
            self.vacant = index;
        }
    }

    fn retire(&mut self, region: &Region, index: u32) {
        self.retired += 1;
        let page = index - index % PAGE_SLOTS;
        if slot(region, page).count() == PAGE_SLOTS - 1 {
            slot(region, page).store(Word::dead(self.dead));
            self.dead = page;
        }
    }

    /// Takes a page that nobody will use again. Its memory is to be given back.
    pub(super) fn take_dead(&mut self, region: &Region) -> Option<u32> {
        if MODEL || self.dead == NIL {
            return None;
        }
        let page = self.dead;
        self.dead = slot(region, page).load().link();
        self.returned += 1;
        Some(page)
    }

    /// Number of vacant slots, or `None` if one of them is not.
    pub(super) fn count_vacant(&self, region: &Region) -> Option<u32> {
        let (mut at, mut count) = (self.vacant, 0);
        while at != NIL {
            let word = slot(region, at).load();
            if !word.is_vacant() || count > self.begun {
                return None;
            }
            (at, count) = (word.link(), count + 1);
        }
        Some(count)
    }

    /// Number of slots that head a page.
    pub(super) fn heads(&self) -> u32 {
        self.begun.div_ceil(PAGE_SLOTS)
    }
}

/// A slot that has begun, or is writable.
pub(super) fn slot(region: &Region, index: u32) -> &Slot {
    // SAFETY: `index` came from a handle below `usable`, or from the shard's own lists: writable and initialised.
    unsafe { region.slot(index).as_ref() }
}
