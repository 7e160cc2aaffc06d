//! A full walk: handle, slot, reverse index, span, list, count (theory 3.4).

use super::classes::{CLASSES, Class};
use super::config::PAGE_SLOTS;
use super::inner::Inner;
use super::span::{List, NIL, Span};
use super::word::Location;
use super::zspool::Zspool;
use kmem_base::source::PageSource;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which.
    pub what: &'static str,
    /// Of which place or slot, where there is one.
    pub at: u32,
}

type Checked = Result<(), Broken>;

fn hold(holds: bool, what: &'static str, at: u32) -> Checked {
    if holds { Ok(()) } else { Err(Broken { what, at }) }
}

impl<S: PageSource> Zspool<S> {
    /// Walks every structure, under the lock of one shard after the other. No other thread may change the pool meanwhile, but for
    /// readers. O(objects).
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn check(&self) -> Result<(), Broken> {
        let mut pages = 0;
        for shard in self.shards().iter() {
            pages += shard.lock().check()?;
        }
        hold(pages == self.shards().quota.pages(), "pages resident are those counted", NIL)
    }
}

/// What is found in places, to be compared with what is counted.
#[derive(Clone, Copy, Default)]
struct Found {
    spans: u32,
    used: u32,
    resident: u32,
    listed: u32,
}

impl Found {
    fn add(&mut self, span: &Span) {
        self.spans += 1;
        self.used += u32::from(span.used);
        self.resident += span.resident.count_ones();
        self.listed += u32::from(span.list.is_listed());
    }
}

impl Inner {
    /// Returns the pages that are resident.
    fn check(&mut self) -> Result<usize, Broken> {
        let mut found = [Found::default(); CLASSES];
        let (mut requested, mut spare, mut free, mut pages) = (0, 0, 0, 0);
        for place in 0..self.supply.begun {
            let span = self.span(place);
            let (list, resident) = (span.list, span.resident.count_ones());
            pages += resident as usize;
            if list.has_span() {
                found[span.class.0 as usize].add(span);
                requested += self.check_span(place)?;
            } else {
                free += 1;
                spare += resident;
                hold(list == if resident == 0 { List::CLEAN } else { List::SPARE }, "a free place is clean or spare", place)?;
            }
        }
        hold(requested == self.requested, "bytes are those asked for", NIL)?;
        hold(spare == self.supply.spare_pages, "pages of free places are those counted", NIL)?;
        self.check_free(free)?;
        Class::all().try_for_each(|class| self.check_class(class, found[class.0 as usize]))?;
        self.check_slots()?;
        Ok(pages)
    }

    /// The descriptor, and every object. Returns the bytes that these were asked for with.
    fn check_span(&mut self, place: u32) -> Result<usize, Broken> {
        let span = self.span(place);
        let (class, shape, used) = (span.class, span.shape(), span.used);
        hold(used > 0, "a span has objects", place)?;
        hold(span.needed() & !span.resident == 0, "objects have memory", place)?;
        let belongs = span.list == List::of(used, shape) || (span.list == List::ASIDE && used < shape.objects);
        hold(belongs, "a span is on the list of its fullness", place)?;
        let (mut at, mut count, mut bytes) = (span.next_used(0), 0, 0);
        while let Some(index) = at {
            count += 1;
            bytes += self.check_object(place, class, index)?;
            at = self.span(place).next_used(index + 1);
        }
        hold(count == used, "objects in use are those counted", place)?;
        Ok(bytes)
    }

    /// Reverse index to slot to location. Returns the object's bytes.
    fn check_object(&mut self, place: u32, class: Class, index: usize) -> Result<usize, Broken> {
        let slot = self.reverse(place, class.shape(), index);
        hold(slot < self.slots.begun && !slot.is_multiple_of(PAGE_SLOTS), "an object has a slot", place)?;
        let word = self.slot(slot).load();
        hold(!word.is_vacant() && word.generation().0 > 0, "its slot is in use", place)?;
        let at = Location::new(place, class.shape().offset(index));
        hold(word.location() == at, "its slot leads back to it", place)?;
        hold(Class::of(word.size()) == class, "its size is of its class", place)?;
        hold(!word.is_moving(), "nothing moves while the lock is held", place)?;
        Ok(word.size())
    }

    fn check_free(&mut self, free: u32) -> Checked {
        let (mut seen, mut right) = (0, true);
        let region = self.region;
        self.supply.for_each_free(&region, |place, list| {
            // SAFETY: begun, and under the lock.
            right &= unsafe { region.span(place).as_ref() }.list == list;
            seen += 1;
        });
        hold(right && seen == free, "free places are on the lists of free places", NIL)
    }

    fn check_class(&mut self, class: Class, found: Found) -> Checked {
        let counted = *self.spans(class);
        let equal = (found.spans, found.used, found.resident) == (counted.spans, counted.used, counted.resident);
        hold(equal, "a class counts its spans, objects and pages", class.0.into())?;
        let mut listed = 0;
        for list in 0..List::COUNT as u8 {
            listed += self.check_list(class, List(list))?;
        }
        hold(listed == found.listed, "a class lists its spans", class.0.into())
    }

    fn check_list(&mut self, class: Class, list: List) -> Result<u32, Broken> {
        let (mut at, mut before, mut count) = (self.head(class, list), NIL, 0);
        while let Some(place) = at {
            hold(place < self.supply.begun && count < self.supply.begun, "a list ends", place)?;
            let span = self.span(place);
            hold(span.list == list && span.class == class && span.prev == before, "a list has its own spans", place)?;
            (before, at, count) = (place, (span.next != NIL).then_some(span.next), count + 1);
        }
        Ok(count)
    }

    /// Every slot heads a page, has an object, is vacant, or retired.
    fn check_slots(&mut self) -> Checked {
        let objects: u32 = self.classes.iter().map(|class| class.used).sum();
        let region = self.region;
        let vacant = self.slots.count_vacant(&region).ok_or(Broken { what: "vacant slots are vacant", at: NIL })?;
        let all = self.slots.heads() + objects + vacant + self.slots.retired;
        hold(all == self.slots.begun, "slots are in use, vacant or retired", all)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use super::super::config::MAX_SIZE;
    use super::super::word::{Generation, Slot, Word};
    use super::*;
    use std::vec::Vec;

    /// A pool with a bit of everything, damaged by `damage` in the shard, at the place and the slot of one of its objects.
    fn broken(damage: impl FnOnce(&mut Inner, Location, u32)) -> &'static str {
        let pool = Zspool::builder().shards(1).build();
        let handles: Vec<_> = (1..MAX_SIZE).step_by(50).flat_map(|size| [size; 9]).map(|size| pool.alloc(size).unwrap()).collect();
        handles.iter().step_by(3).for_each(|handle| pool.free(*handle).unwrap());
        pool.check().unwrap();
        let victim = handles[301];
        let shard = pool.shards().iter().next().unwrap();
        let at = shard.slot(victim.slot()).unwrap().load().location();
        damage(&mut shard.lock(), at, victim.slot());
        pool.check().unwrap_err().what
    }

    fn rewrite(inner: &Inner, slot: u32, change: impl Fn(Word) -> Word) {
        let own: &Slot = inner.slot(slot);
        own.store(change(own.load()));
    }

    #[test]
    fn each_kind_of_damage_is_found() {
        let elsewhere = |word: Word| Word::live(word.generation(), word.size(), Location::new(word.location().place(), 0));
        let larger = |word: Word| Word::live(word.generation(), MAX_SIZE, word.location());
        assert_eq!(broken(|inner, _, slot| rewrite(inner, slot, elsewhere)), "its slot leads back to it");
        assert_eq!(broken(|inner, _, slot| rewrite(inner, slot, larger)), "its size is of its class");
        assert_eq!(broken(|inner, _, slot| rewrite(inner, slot, |_| Word::vacant(Generation::FIRST, 0))), "its slot is in use");
        assert_eq!(
            broken(|inner, _, slot| rewrite(inner, slot, |word| word.start_move().unwrap())),
            "nothing moves while the lock is held"
        );
        assert_eq!(broken(|inner, at, _| inner.put_of(at)), "a span is on the list of its fullness");
        assert_eq!(broken(|inner, at, _| inner.span(at.place()).resident = 0), "objects have memory");
        assert_eq!(broken(|inner, at, _| inner.span(at.place()).used += 1), "objects in use are those counted");
        assert_eq!(broken(|inner, at, _| inner.unlist(at.place())), "a span is on the list of its fullness");
        assert_eq!(broken(|inner, _, _| inner.requested += 1), "bytes are those asked for");
        assert_eq!(broken(|inner, _, _| inner.slots.retired += 1), "slots are in use, vacant or retired");
        assert_eq!(broken(|inner, _, _| inner.supply.spare_pages += 1), "pages of free places are those counted");
        assert_eq!(
            broken(|inner, at, _| {
                let class = inner.span(at.place()).class;
                inner.spans(class).used += 1;
            }),
            "a class counts its spans, objects and pages"
        );
        assert_eq!(
            broken(|inner, at, _| {
                let class = inner.span(at.place()).class;
                inner.spans(class).resident += 1;
            }),
            "a class counts its spans, objects and pages"
        );
    }
}
