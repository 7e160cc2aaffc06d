//! An instance of the allocator, with its own page supply, as a subject of the testkit.

#![allow(dead_code)]

use kmem_base::classes::{Class, round_to_align};
use kmem_base::config::MAX_SMALL;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::FaultySource;
use kmem_base::sync::{AtomicU64, Ordering};
use kmem_slab::{Flags, RawCache, Slab, Spec};
use kmem_testkit::{FixedSubject, Hooks, Subject};
use std::alloc::Layout;
use std::sync::{PoisonError, RwLock};

/// An allocator that lives as long as the test process, over a source that can be told to fail.
pub(crate) struct Heap {
    pub(crate) slab: &'static Slab,
    pub(crate) source: &'static FaultySource,
    pub(crate) fails: bool,
    /// Held for reading by what a test does beside a stress run: the check at its end waits for that, being exact only when nothing runs.
    pub(crate) busy: RwLock<()>,
}

/// Knobs for an instance: one per configuration worth a run.
pub(crate) fn configurations() -> Vec<(&'static str, Settings)> {
    let s = Settings::new().with(Knob::ArenaMb, 1024);
    vec![
        ("arrays", s),
        ("magazines", s.with(Knob::Front, 1)),
        ("arrays, locked", s.with(Knob::PerCpu, 1)),
        ("magazines, locked", s.with(Knob::PerCpu, 1).with(Knob::Front, 1)),
        ("no arrays", s.with(Knob::Queues, 0)),
        ("one row", s.with(Knob::Cpus, 1)),
        ("four fake nodes", s.with(Knob::Nodes, 4).with(Knob::Cpus, 16)),
        (
            "four fake nodes, magazines, locked",
            s.with(Knob::Nodes, 4).with(Knob::Cpus, 16).with(Knob::PerCpu, 1).with(Knob::Front, 1),
        ),
        ("everything checked", s.with(Knob::Check, 1)),
        ("tiny arenas", s.with(Knob::ArenaMb, 4)),
    ]
}

impl Heap {
    pub(crate) fn new(settings: &Settings) -> Self {
        let heap = Self::unstarted();
        assert!(heap.slab.start(settings));
        heap
    }

    pub(crate) fn unstarted() -> Self {
        let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
        Self { slab: Box::leak(Box::new(Slab::new(source))), source, fails: false, busy: RwLock::new(()) }
    }

    /// With arrays, or with magazines.
    pub(crate) fn with_front(magazines: bool) -> Self {
        Self::new(&Settings::new().with(Knob::ArenaMb, 1024).with(Knob::Front, u64::from(magazines)))
    }

    pub(crate) fn cache(&self, size: usize, flags: Flags) -> &'static RawCache {
        self.slab.create(&Spec::new("test", size, 8).with(flags)).unwrap()
    }

    /// Destroys a cache that the test is done with.
    pub(crate) fn destroy(&self, cache: &'static RawCache) -> Result<(), kmem_slab::Busy> {
        // SAFETY: tests use a cache no more after this.
        unsafe { self.slab.destroy(cache) }
    }

    pub(crate) fn alloc_many(&self, cache: &RawCache, count: usize) -> Vec<*mut u8> {
        (0..count).map(|_| self.slab.alloc_object(cache)).inspect(|object| assert!(!object.is_null())).collect()
    }

    pub(crate) fn free_all(&self, cache: &RawCache, objects: impl IntoIterator<Item = *mut u8>) {
        // SAFETY: the test's own objects of that cache, each freed once.
        objects.into_iter().for_each(|object| unsafe { self.slab.free_object(cache, object) });
    }

    /// Frees one object, on behalf of the caller's line.
    #[track_caller]
    pub(crate) fn free_here(&self, cache: &RawCache, object: *mut u8) {
        // SAFETY: the tests' own object; or what they are about.
        unsafe { self.slab.free_object(cache, object) };
    }

    /// One cache of the heap as a subject, with its bulk operations.
    pub(crate) fn subject<'a>(&'a self, cache: &'static RawCache) -> FixedSubject<'a> {
        let layout = Layout::from_size_align(cache.object_size(), 8).unwrap();
        let slab = self.slab;
        // SAFETY: the testkit frees what it allocated, once.
        let free = move |object| unsafe { slab.free_object(cache, object) };
        // SAFETY: as above.
        let free_batch = move |objects: &[*mut u8]| unsafe { slab.free_bulk(cache, objects) };
        FixedSubject::new(layout, move || slab.alloc_object(cache), free)
            .with_batch(move |out| slab.alloc_bulk(cache, out), free_batch)
            .with_hooks(Hooks {
                trim: Some(Box::new(move || {
                    slab.reap_tick();
                })),
                drain: Some(Box::new(move || {
                    slab.shrink(cache);
                })),
                check: Some(Box::new(|| {
                    let _still = self.busy.write().unwrap_or_else(PoisonError::into_inner);
                    slab.check().map_err(|broken| broken.to_string())
                })),
                may_fail: self.fails,
            })
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // The instance is leaked, its memory need not be.
        self.slab.trim();
    }
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
            Some(class) => self.slab.alloc(class),
            None if self.slab.ready() => self.slab.pages().alloc_large(layout.size(), layout.align(), false),
            None => std::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the testkit frees what it allocated, with the same layout.
        unsafe {
            match class(layout) {
                Some(class) => self.slab.free(class, block),
                None => self.slab.pages().free_large(block, layout.size()),
            }
        }
    }

    fn trim(&self) {
        self.slab.reap_tick();
    }

    fn drain(&self) {
        self.slab.trim();
    }

    fn check(&self) -> Result<(), String> {
        self.slab.check().map_err(|broken| broken.to_string())
    }

    fn may_fail(&self) -> bool {
        self.fails
    }
}
