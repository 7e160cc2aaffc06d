//! Compaction: from the emptiest spans to the fullest, object by object (theory 3.6).

use super::classes::{CLASSES, Class};
use super::config::{BATCH, PROBES, SPAN_COST, SPAN_OBJECTS};
use super::inner::Inner;
use super::quota::Quota;
use super::shard::Shard;
use super::slots::slot;
use super::span::List;
use super::word::{Location, Word};
use kmem_base::source::PageSource;

/// How much one call of [`Zspool::compact`](super::Zspool::compact) may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Objects looked at. A span given back, which takes the system as long, counts as sixteen.
    pub objects: usize,
}

impl Budget {
    /// Until nothing more can be done.
    pub const UNLIMITED: Self = Self { objects: usize::MAX };

    /// `objects` at most.
    #[must_use]
    pub const fn objects(objects: usize) -> Self {
        Self { objects }
    }

    /// Spans that may be given back at once, one at least.
    pub(super) fn spans(&self) -> usize {
        (self.objects / SPAN_COST).clamp(1, BATCH)
    }

    /// Takes `cost`. False if there is nothing left.
    pub(super) fn spend(&mut self, cost: usize) -> bool {
        let left = self.objects > 0;
        self.objects = self.objects.saturating_sub(cost);
        left
    }
}

/// What a compaction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compaction {
    /// Objects moved.
    pub moved: usize,
    /// Their bytes.
    pub bytes_moved: usize,
    /// Objects left where they are, since somebody was reading or writing them.
    pub pinned: usize,
    /// Spans that became empty.
    pub spans: usize,
    /// Bytes returned to the system.
    pub released: usize,
    /// True if it came to the end of everything there is to do, from wherever the last one stopped.
    pub done: bool,
}

/// Where a shard's compaction goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    class: u8,
    /// The span that is being emptied, last object first. Those from this one on have been tried.
    from: Option<u32>,
    end: usize,
    /// The span that is being filled.
    to: Option<u32>,
    /// The place whose dead pages are looked for next, after all classes.
    pub(super) place: u32,
}

/// What one step did.
enum Step {
    Moved {
        bytes: usize,
        emptied: bool,
    },
    Pinned,
    /// Of this class, nothing is left to be moved.
    End,
}

impl Shard {
    /// Compacts as far as `budget` reaches. Nothing if another thread is at it.
    pub(super) fn compact(&self, budget: &mut Budget, quota: &Quota, source: &dyn PageSource) -> Compaction {
        let mut sum = Compaction::default();
        let Some(mut cursor) = self.cursor.try_lock() else { return sum };
        while (cursor.class as usize) < CLASSES {
            if !budget.spend(1) {
                sum.released += self.give_back(0, quota, source);
                return sum;
            }
            let step = cursor.step(self, &mut self.lock(), quota);
            match step {
                Step::Moved { bytes, emptied } => {
                    sum.moved += 1;
                    sum.bytes_moved += bytes;
                    if emptied {
                        sum.spans += 1;
                        budget.spend(SPAN_COST);
                        if sum.spans.is_multiple_of(BATCH) {
                            sum.released += self.give_back(0, quota, source);
                        }
                    }
                }
                Step::Pinned => sum.pinned += 1,
                Step::End => budget.objects = budget.objects.saturating_add(1),
            }
        }
        sum.released += self.give_back(0, quota, source);
        let (bytes, done) = self.sweep(&mut cursor.place, budget, quota, source);
        sum.released += bytes;
        sum.done = done;
        if done {
            *cursor = Cursor::default();
        }
        sum
    }
}

impl Cursor {
    /// Moves an object.
    fn step(&mut self, shard: &Shard, inner: &mut Inner, quota: &Quota) -> Step {
        while (self.class as usize) < CLASSES - 1 && inner.spans(Class(self.class)).spans == 0 {
            *self = Self { class: self.class + 1, ..Self::default() };
        }
        let class = Class(self.class);
        let Some((from, object, to)) = self.find(inner, class) else {
            inner.end_pass(class);
            *self = Self { class: self.class + 1, ..Self::default() };
            return Step::End;
        };
        self.end = object;
        let Some(bytes) = shard.relocate(inner, from, object, to, quota) else { return Step::Pinned };
        let emptied = !inner.span(from).list.has_span();
        if emptied {
            self.from = None;
        }
        Step::Moved { bytes, emptied }
    }

    /// The next object to be moved, as span and index, and the span to move it to. Spans that have only pinned objects left are put
    /// aside.
    fn find(&mut self, inner: &mut Inner, class: Class) -> Option<(u32, usize, u32)> {
        if class.shape().is_paged() {
            return None;
        }
        loop {
            let from = match self.from.filter(|place| inner.is_partial(*place, class)) {
                Some(place) => place,
                None => inner.emptiest(class)?,
            };
            if self.from != Some(from) {
                (self.from, self.end) = (Some(from), SPAN_OBJECTS);
            }
            let Some(object) = inner.span(from).last_used(self.end) else {
                inner.unlist(from);
                inner.list_on(from, List::ASIDE);
                self.from = None;
                continue;
            };
            let to = match self.to.filter(|place| *place != from && inner.is_partial(*place, class)) {
                Some(place) => Some(place),
                None => inner.fullest_but(class, from),
            };
            self.to = to;
            return match to {
                Some(to) => Some((from, object, to)),
                // The last one: within itself.
                None => inner.span(from).is_loose(object).then_some((from, object, from)),
            };
        }
    }
}

impl Shard {
    /// Moves an object of `from` to `to`, which has room. The bytes moved, or nothing if it is read, written or dying.
    fn relocate(&self, inner: &mut Inner, from: u32, object: usize, to: u32, quota: &Quota) -> Option<usize> {
        let shape = inner.span(from).shape();
        let old = Location::new(from, shape.offset(object));
        let index = inner.reverse(from, shape, object);
        let slot = slot(&self.region, index);
        let word = slot.try_update(Word::start_move).ok()?;
        // From here to the end of the move no write begins; reads do, and free does.
        let new = inner.take_of(to, index, |pages| quota.exceed(pages));
        let moved = new.is_some_and(|new| {
            self.copy(old, new, word.size());
            slot.try_update(|word| word.finish_move(new)).is_ok()
        });
        if !moved {
            let _ = slot.try_update(Word::abandon_move);
        }
        if let Some(new) = new {
            // What is free now: the old copy, or the new one.
            inner.put_object(if moved { old } else { new });
            inner.relist(to);
        }
        moved.then_some(word.size())
    }

    fn copy(&self, from: Location, to: Location, len: usize) {
        let (source, target) = (self.region.object(from), self.region.object(to));
        // SAFETY: two different objects, of at least `len` bytes. The old one is moving: it is not written, and not released before the
        // lock is. The new one is known to nobody else.
        self.reads(from, || self.writes(to, || unsafe { target.copy_from_nonoverlapping(source, len) }));
    }
}

impl Inner {
    fn is_partial(&mut self, place: u32, class: Class) -> bool {
        let span = self.span(place);
        span.list.is_group() && span.class == class
    }

    /// One of the emptiest spans.
    fn emptiest(&mut self, class: Class) -> Option<u32> {
        let list = (0..List::GROUPS).map(List).find(|list| self.head(class, *list).is_some())?;
        self.probe(class, list).min_by_key(|(_, used)| *used).map(|(place, _)| place)
    }

    /// One of the fullest spans with room, other than `but`.
    fn fullest_but(&mut self, class: Class, but: u32) -> Option<u32> {
        (0..List::GROUPS).rev().map(List).find_map(|list| {
            let others = self.probe(class, list).filter(|(place, _)| *place != but);
            others.max_by_key(|(_, used)| *used).map(|(place, _)| place)
        })
    }

    /// The first few spans of a list, and how many objects they have.
    fn probe(&mut self, class: Class, list: List) -> impl Iterator<Item = (u32, u16)> {
        let mut at = self.head(class, list);
        core::iter::from_fn(move || {
            let place = at?;
            let span = self.span(place);
            at = (span.next != super::span::NIL).then_some(span.next);
            Some((place, span.used))
        })
        .take(PROBES)
    }

    /// Lists the spans again that were put aside.
    fn end_pass(&mut self, class: Class) {
        while let Some(place) = self.head(class, List::ASIDE) {
            self.unlist(place);
            self.list(place);
        }
    }
}
