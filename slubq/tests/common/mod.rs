//! An instance of the allocator, with its own page supply, as a subject of the testkit.

#![allow(dead_code)]

use kmem_base::classes::{Class, round_to_align};
use kmem_base::config::MAX_SMALL;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::pages::Grown;
use kmem_base::source::FaultySource;
use kmem_base::sync::{AtomicU64, Ordering};
use kmem_slubq::{Cache, Level, Slubq, Spec};
use kmem_testkit::Subject;
use std::alloc::Layout;
use std::sync::atomic::AtomicBool;
use std::sync::{PoisonError, RwLock};

/// Sets its flag when dropped: what runs beside a storm must end also if that panics.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An allocator that lives as long as the test process, over a source that can be told to fail.
pub(crate) struct Heap {
    pub(crate) slubq: &'static Slubq,
    pub(crate) source: &'static FaultySource,
    pub(crate) fails: bool,
    /// Held for reading by what a test does beside a stress run: the check at its end waits for that, being exact only when nothing runs.
    pub(crate) busy: RwLock<()>,
}

/// Knobs for an instance: one per configuration worth a run.
pub(crate) fn configurations() -> Vec<(&'static str, Settings)> {
    let s = Settings::new().with(Knob::ArenaMb, 1024);
    vec![
        ("default", s),
        ("locked", s.with(Knob::PerCpu, 1)),
        ("queues off", s.with(Knob::Queues, 0)),
        ("no stash, no depot", s.with(Knob::StashKb, 0).with(Knob::DepotKb, 0)),
        ("no stash, one shard", s.with(Knob::StashKb, 0).with(Knob::Shards, 1)),
        ("one row", s.with(Knob::Cpus, 1).with(Knob::Shards, 4)),
        ("four fake nodes", s.with(Knob::Nodes, 4).with(Knob::Shards, 16).with(Knob::Cpus, 16)),
        ("restless", s.with(Knob::DecayMs, 1).with(Knob::StashKb, 0)),
        ("restless and locked", s.with(Knob::DecayMs, 1).with(Knob::PerCpu, 1)),
        ("small huge blocks, tiny arenas", s.with(Knob::HugeKb, 128).with(Knob::ArenaMb, 4)),
    ]
}

impl Heap {
    pub(crate) fn new(settings: &Settings) -> Self {
        let heap = Self::unstarted();
        assert!(heap.slubq.start(settings));
        heap
    }

    pub(crate) fn unstarted() -> Self {
        let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
        Self { slubq: Box::leak(Box::new(Slubq::new(source))), source, fails: false, busy: RwLock::new(()) }
    }

    pub(crate) fn cache(&self, spec: &Spec<'_>) -> &'static Cache {
        self.slubq.create(spec).unwrap()
    }

    /// Destroys a cache that the test is done with.
    pub(crate) fn destroy(&self, cache: &'static Cache) -> Result<(), kmem_slubq::Busy> {
        // SAFETY: tests use a cache no more after this.
        unsafe { self.slubq.destroy(cache) }
    }

    /// Over an allocator with a source of its own; [`Self::source`] is then nobody's.
    pub(crate) fn over(slubq: &'static Slubq) -> Self {
        let mut heap = Self::unstarted();
        heap.slubq = slubq;
        heap
    }

    fn alloc_large(&self, layout: Layout, zeroed: bool) -> *mut u8 {
        if !self.slubq.ready() {
            return std::ptr::null_mut();
        }
        self.slubq.pages().alloc_large(layout.size(), layout.align(), zeroed)
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // The instance is leaked, its memory need not be.
        self.slubq.trim(Level::Queues);
    }
}

/// So many objects of `cache`.
pub(crate) fn alloc_many(heap: &Heap, cache: &Cache, count: usize) -> Vec<*mut u8> {
    (0..count).map(|_| heap.slubq.alloc_object(cache)).inspect(|object| assert!(!object.is_null())).collect()
}

/// Frees objects of `cache`.
pub(crate) fn free_all(heap: &Heap, cache: &Cache, objects: impl IntoIterator<Item = *mut u8>) {
    // SAFETY: the test's own objects of that cache, each freed once.
    objects.into_iter().for_each(|object| unsafe { heap.slubq.free_object(cache, object) });
}

/// What a counter says.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn class(layout: Layout) -> Option<Class> {
    let size = round_to_align(layout);
    (size <= MAX_SMALL).then(|| Class::of(size))
}

impl Subject for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            Some(class) => self.slubq.alloc(class),
            None => self.alloc_large(layout, false),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else { return self.alloc_large(layout, true) };
        let object = self.slubq.alloc(class);
        if !object.is_null() {
            // SAFETY: the object is at least that large.
            unsafe { object.write_bytes(0, layout.size()) };
        }
        object
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the testkit frees what it allocated, with the same layout.
        unsafe {
            match class(layout) {
                Some(class) => self.slubq.free(class, block),
                None => self.slubq.pages().free_large(block, layout.size()),
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let new = Layout::from_size_align(new_size, layout.align()).unwrap();
        // SAFETY: as for `dealloc`; the new block is larger than what is copied.
        unsafe {
            if let (None, None) = (class(layout), class(new)) {
                let pages = self.slubq.pages();
                if let Grown::Done(moved) = pages.resize_large(block, layout.size(), new_size, layout.align()) {
                    return moved;
                }
            }
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            moved
        }
    }

    fn trim(&self) {
        self.slubq.trim(Level::Slabs);
    }

    fn drain(&self) {
        self.slubq.trim(Level::Queues);
    }

    fn check(&self) -> Result<(), String> {
        let _still = self.busy.write().unwrap_or_else(PoisonError::into_inner);
        self.slubq.check().map_err(|broken| broken.to_string())
    }

    fn may_fail(&self) -> bool {
        self.fails
    }
}
