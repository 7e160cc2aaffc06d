//! What a pool holds (theory 9).

use super::classes::Class;
use super::compact::Compaction;
use super::config::PAGE;
use super::inner::Inner;
use super::shard::Shard;
use super::zspool::Zspool;
use core::ops::AddAssign;
use kmem_base::source::{PageSource, os_page};

/// What a pool holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Live objects, and freed ones that are being read.
    pub objects: usize,
    /// Bytes that they were asked for with.
    pub requested: usize,
    /// Bytes of memory behind spans, and behind free places until it is given back.
    pub resident: usize,
    /// ... of which behind free places.
    pub spare: usize,
    /// Bytes of memory behind handles, descriptors and the shards themselves, in whole pages of the system. (Reverse indices are in
    /// spans and descriptors.)
    pub metadata: usize,
    /// Spans with a live object.
    pub spans: usize,
    /// Slots that will not be used again (theory 3.3).
    pub retired: usize,
    /// Shards in use.
    pub shards: usize,
}

/// One size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassStats {
    /// Largest object, in bytes.
    pub size: usize,
    /// Pages of a span.
    pub pages: usize,
    /// Objects of a span.
    pub per_span: usize,
    /// Spans.
    pub spans: usize,
    /// Live objects.
    pub objects: usize,
    /// Bytes of memory behind the spans.
    pub resident: usize,
    /// ... which compaction could return.
    pub compactable: usize,
}

impl<S: PageSource> Zspool<S> {
    /// What the pool holds. Shard by shard: what others do meanwhile may be counted or not.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.shards().iter().for_each(|shard| sum += shard.stats());
        sum.resident = self.shards().quota.pages() * PAGE;
        sum.metadata += size_of::<Self>();
        sum
    }

    /// Calls `each` with every size class, by ascending size.
    pub fn classes(&self, mut each: impl FnMut(ClassStats)) {
        for class in Class::all() {
            let mut sum = ClassStats::default();
            self.shards().iter().for_each(|shard| sum += shard.lock().class_stats(class));
            let shape = class.shape();
            each(ClassStats { size: shape.size.into(), pages: shape.pages.into(), per_span: shape.objects.into(), ..sum });
        }
    }
}

impl Shard {
    fn stats(&self) -> Stats {
        let inner = self.lock();
        let paged = |bytes: usize| bytes.next_multiple_of(os_page());
        Stats {
            objects: inner.classes.iter().map(|class| class.used as usize).sum(),
            requested: inner.requested,
            resident: 0,
            spare: inner.supply.spare_pages as usize * PAGE,
            metadata: paged(size_of::<Self>()) + paged(inner.supply.descriptors()) + paged(inner.slots.bytes()),
            spans: inner.classes.iter().map(|class| class.spans as usize).sum(),
            retired: inner.slots.retired as usize,
            shards: 1,
        }
    }
}

impl Inner {
    fn class_stats(&self, class: Class) -> ClassStats {
        let spans = &self.classes[class.0 as usize];
        let resident = spans.resident as usize;
        let excess = resident.saturating_sub(class.shape().packed(spans.used as usize));
        ClassStats {
            spans: spans.spans as usize,
            objects: spans.used as usize,
            resident: resident * PAGE,
            compactable: excess * PAGE,
            ..ClassStats::default()
        }
    }

    /// Bytes that would come free if every class were packed.
    pub(super) fn compactable(&self) -> usize {
        let classes: usize = Class::all().map(|class| self.class_stats(class).compactable).sum();
        classes + self.supply.spare_pages as usize * PAGE
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.requested += other.requested;
        self.resident += other.resident;
        self.spare += other.spare;
        self.metadata += other.metadata;
        self.spans += other.spans;
        self.retired += other.retired;
        self.shards += other.shards;
    }
}

impl AddAssign for ClassStats {
    fn add_assign(&mut self, other: Self) {
        self.spans += other.spans;
        self.objects += other.objects;
        self.resident += other.resident;
        self.compactable += other.compactable;
    }
}

impl Compaction {
    /// What another shard's did, too.
    pub(super) fn add(&mut self, other: Self) {
        self.moved += other.moved;
        self.bytes_moved += other.bytes_moved;
        self.pinned += other.pinned;
        self.spans += other.spans;
        self.released += other.released;
        self.done &= other.done;
    }
}
