//! Models of slabs and caches that come and go: destroying, bringing objects home, switching debugging, grace periods.

extern crate std;

use crate::cache::{Flags, Front, RawCache, Spec};
use crate::epoch::Grace;
use crate::explore::explore;
use crate::loom_models::{SETTINGS, SIZE, give, settle, started, take, up};
use crate::slab::Slab;
use core::ptr::without_provenance_mut;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::pages::{Kind, Page, Pages};
use kmem_base::percpu::run_on;
use kmem_base::source::Scratch;
use kmem_base::sync::{AtomicU32, Ordering, UnsafeCell};
use loom::thread;
use std::boxed::Box;
use std::sync::Arc;

/// A CPU on each of two nodes.
const NODES: Settings = SETTINGS.with(Knob::Nodes, 2);

/// A cache with objects of node 0 that are free, of which one is in an alien array of node 1.
fn with_an_alien(source: &'static Scratch, spec: &Spec<'_>) -> (Arc<Slab>, &'static RawCache) {
    let slab = started(source, &NODES);
    let cache = slab.create(spec).unwrap();
    slab.tune(cache, 1, 1, 0).unwrap();
    let objects = take(&slab, cache, 1);
    run_on(1);
    give(&slab, cache, &objects);
    assert_eq!(slab.cache_info(cache).alien, 1);
    (slab, cache)
}

#[test]
fn loom_an_alien_array_goes_home_while_its_slab_is_released() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (slab, cache) = with_an_alien(&SOURCE, &Spec::new("model", SIZE, 8));
        let theirs = slab.clone();
        let other = thread::spawn(move || theirs.drain_alien(cache, 1, 0) + theirs.release_free(cache, 0, usize::MAX));
        let mine = slab.drain_alien(cache, 1, 0) + slab.release_free(cache, 0, usize::MAX);
        assert_eq!(mine + other.join().unwrap(), 2, "one object came home, and one slab went");
        settle(&slab, cache, std::vec![]);
    });
}

#[test]
fn loom_an_alien_array_is_filled_by_two_while_it_goes_home() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let slab = started(&SOURCE, &NODES);
        let cache = slab.create(&Spec::new("model", SIZE, 8)).unwrap();
        slab.tune(cache, 1, 1, 0).unwrap();
        let mut objects = take(&slab, cache, 2);
        let (theirs, last) = (slab.clone(), objects.pop().unwrap());
        let other = thread::spawn(move || {
            run_on(1);
            give(&theirs, cache, &objects);
            theirs.drain_alien(cache, 1, 0);
        });
        run_on(1);
        give(&slab, cache, &[last]);
        other.join().unwrap();
        settle(&slab, cache, std::vec![]);
    });
}

/// What the constructor and destructor of a model see.
struct Counts {
    alive: AtomicU32,
    /// Not 0 once the cache is destroyed.
    gone: AtomicU32,
}

/// # Safety
/// `context` is a leaked `Counts`.
unsafe fn construct(object: *mut u8, context: *mut ()) {
    // SAFETY: the caller's; the object is fresh, and larger than a pointer.
    unsafe {
        object.cast::<usize>().write(object.addr());
        (*context.cast::<Counts>()).alive.fetch_add(1, Ordering::Relaxed);
    }
}

/// # Safety
/// As [`construct`].
unsafe fn destroy(object: *mut u8, context: *mut ()) {
    // SAFETY: the caller's.
    unsafe {
        let counts = &*context.cast::<Counts>();
        assert_eq!(counts.gone.load(Ordering::Relaxed), 0, "the cache is gone, and its context may be");
        assert_eq!(object.cast::<usize>().read(), object.addr(), "this object was never constructed");
        counts.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A specification with a context that counts, and one object to a slab; leaked, since a model is run anew for each execution.
fn counted() -> (Spec<'static>, &'static Counts) {
    let counts: &'static Counts = Box::leak(Box::new(Counts { alive: AtomicU32::new(0), gone: AtomicU32::new(0) }));
    let context = core::ptr::from_ref(counts).cast_mut().cast();
    // SAFETY: the context is leaked, and atomic.
    (unsafe { Spec::new("model", 60 << 10, 8).constructed(Some(construct), Some(destroy), context) }, counts)
}

/// Destroys a cache without live objects beside `other`.
fn destroyed_beside(source: &'static Scratch, other: fn(&Slab)) {
    let (spec, counts) = counted();
    let (slab, cache) = with_an_alien(source, &spec);
    let theirs = slab.clone();
    let other = thread::spawn(move || other(&theirs));
    // SAFETY: nobody uses the cache; what brings its objects home is the allocator's own affair.
    unsafe { slab.destroy(cache) }.unwrap();
    assert_eq!(counts.alive.load(Ordering::Relaxed), 0);
    counts.gone.store(1, Ordering::Relaxed);
    other.join().unwrap();
    slab.check().unwrap();
}

#[test]
fn loom_a_cache_is_destroyed_beside_a_pass_that_brings_its_objects_home() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        destroyed_beside(&SOURCE, |slab| {
            slab.passes.store(1, Ordering::Relaxed);
            slab.reap_tick();
        });
    });
}

#[test]
fn loom_a_cache_is_destroyed_beside_a_trim() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        destroyed_beside(&SOURCE, |slab| {
            slab.trim_slabs();
        });
    });
}

#[test]
fn loom_debugging_is_switched_on_while_the_first_slab_is_made() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let (slab, cache) = up(&SOURCE, Front::Arrays, 2);
        let theirs = slab.clone();
        let other = thread::spawn(move || take(&theirs, cache, 1));
        run_on(1);
        let switched = slab.set_debug(cache, Flags::RED_ZONE).is_ok();
        let held = other.join().unwrap();
        assert_eq!(cache.flags().has(Flags::RED_ZONE), switched);
        slab.verify(cache).unwrap();
        settle(&slab, cache, held);
    });
}

#[test]
fn loom_debugging_is_switched_on_while_the_last_slab_goes() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let slab = started(&SOURCE, &SETTINGS.with(Knob::Queues, 0));
        let (spec, counts) = counted();
        let cache = slab.create(&spec).unwrap();
        let objects = take(&slab, cache, 1);
        give(&slab, cache, &objects);
        let theirs = slab.clone();
        let other = thread::spawn(move || theirs.release_free(cache, 0, usize::MAX));
        let switched = slab.set_debug(cache, Flags::RED_ZONE).is_ok();
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!((cache.flags().has(Flags::RED_ZONE), counts.alive.load(Ordering::Relaxed)), (switched, 0));
        settle(&slab, cache, std::vec![]);
    });
}

#[test]
fn loom_no_arrays_come_back_while_debugging_is_switched_on() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let slab = started(&SOURCE, &SETTINGS);
        let cache = slab.create(&Spec::new("model", SIZE, 8)).unwrap();
        let theirs = slab.clone();
        let other = thread::spawn(move || {
            let _refused_or_not = theirs.tune(cache, 2, 1, 0);
        });
        run_on(1);
        slab.set_debug(cache, Flags::CHECKS).unwrap();
        other.join().unwrap();
        assert_eq!(slab.percpu.lease(cache.slot()).shape(), None, "a checked cache has no arrays");
    });
}

/// Grace periods alone, and a slab that a structure of the program's leads to.
struct Read {
    grace: Grace,
    pages: Pages,
    page: &'static Page,
    /// Not 0 while the structure leads to the slab.
    linked: AtomicU32,
    /// The slab's memory.
    memory: UnsafeCell<()>,
}

// SAFETY: loom checks that accesses to the cell are ordered.
unsafe impl Send for Read {}
// SAFETY: as above.
unsafe impl Sync for Read {}

impl Read {
    fn new(source: &'static Scratch) -> Arc<Self> {
        source.begin();
        let pages = Pages::new(source);
        pages.configure(4 << 20, 0, 32 << 20, kmem_base::pages::Thp::Off);
        let page = pages.alloc(1, 1, Kind::Slab).unwrap().page;
        page.set_owner(without_provenance_mut(8));
        Arc::new(Self { grace: Grace::new(), pages, page, linked: AtomicU32::new(1), memory: UnsafeCell::new(()) })
    }

    /// Reads as a user does, in the row of `cpu`.
    fn read(&self, cpu: u32) {
        let pinned = self.grace.pin(cpu);
        if self.linked.load(Ordering::Relaxed) != 0 {
            assert!(!self.page.owner().is_null(), "found under a pin, and gone all the same");
            self.memory.with(|_| ());
        }
        drop(pinned);
    }

    /// Unlinks the slab and gives it up.
    fn retire(&self) {
        self.linked.store(0, Ordering::Relaxed);
        self.grace.retire(&self.pages, self.page);
        self.reuse();
    }

    /// Writes to the slab's memory if it has been given back.
    fn reuse(&self) {
        if self.grace.settle(&self.pages) == 0 {
            self.memory.with_mut(|_| ());
        }
    }
}

#[test]
fn loom_a_slab_found_under_a_pin_stays() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let read = Read::new(&SOURCE);
        let theirs = read.clone();
        let reader = thread::spawn(move || theirs.read(0));
        read.retire();
        reader.join().unwrap();
        read.reuse();
        assert_eq!(read.grace.waiting(), 0);
        assert!(read.page.owner().is_null() && read.grace.check());
    });
}

#[test]
fn loom_a_reader_that_comes_late_is_waited_for() {
    static SOURCE: Scratch = Scratch::new();
    explore(|| {
        let read = Read::new(&SOURCE);
        let readers: std::vec::Vec<_> = (0..2)
            .map(|cpu| {
                let theirs = read.clone();
                thread::spawn(move || theirs.read(cpu))
            })
            .collect();
        read.retire();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        read.reuse();
        assert_eq!(read.grace.waiting(), 0);
    });
}
