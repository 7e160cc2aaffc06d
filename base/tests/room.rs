//! Address space that is given back before a process is limited in it, and what comes to lie there.

#![cfg(not(loom))]

use kmem_base::classes::Class;
use kmem_base::config::PAGE_SIZE;
use kmem_base::pages::{Kind, Pages, Run, Thp};
use kmem_base::source::{OsSource, PageSource};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's memory; but a reservation is made at the start of what was given back last, if it fits there, and before each commit
/// somebody has his say.
#[derive(Debug)]
struct Reusing {
    hole: Mutex<Option<(usize, usize)>>,
    before_commit: fn(),
}

impl Reusing {
    const fn new(before_commit: fn()) -> Self {
        Self { hole: Mutex::new(None), before_commit }
    }

    fn reserve_in_hole(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        let (start, room) = self.hole.lock().unwrap().take()?;
        let at = start.next_multiple_of(align);
        if at + len > start + room {
            return None;
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: replaces no mapping.
        let mapped = unsafe { libc::mmap(std::ptr::with_exposed_provenance_mut(at), len, libc::PROT_NONE, flags, -1, 0) };
        assert_eq!(mapped.addr(), at, "the hole is nobody else's");
        NonNull::new(mapped.cast())
    }
}

// SAFETY: the system's source, with reservations of our own.
unsafe impl PageSource for Reusing {
    fn reserve(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        self.reserve_in_hole(len, align).or_else(|| OsSource.reserve(len, align))
    }

    unsafe fn commit(&self, at: NonNull<u8>, len: usize) -> bool {
        (self.before_commit)();
        // SAFETY: the caller's.
        unsafe { OsSource.commit(at, len) }
    }

    fn map(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        OsSource.map(len, align)
    }

    unsafe fn purge(&self, at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's.
        unsafe { OsSource.purge(at, len) }
    }

    unsafe fn advise_huge(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: the caller's.
        unsafe { OsSource.advise_huge(at, len) }
    }

    unsafe fn remap(&self, at: NonNull<u8>, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
        // SAFETY: the caller's.
        unsafe { OsSource.remap(at, old, new, may_move) }
    }

    unsafe fn unmap(&self, at: NonNull<u8>, len: usize) {
        *self.hole.lock().unwrap() = Some((at.as_ptr().expose_provenance(), len));
        // SAFETY: the caller's.
        unsafe { OsSource.unmap(at, len) }
    }
}

fn take(pages: &Pages, span: u32) -> Run {
    let run = pages.alloc(span, 1, Kind::Large).expect("there is memory");
    // SAFETY: the run is ours.
    unsafe { run.address.write_bytes(0x5A, span as usize * PAGE_SIZE) };
    run
}

/// The first arena's table of descriptors has 64 MiB, nearly all of it given back: room for another arena, tables and all. Its pages
/// must not be taken for the first one's, in whose table they would lie.
#[test]
fn an_arena_in_the_first_ones_old_table_is_one_of_its_own() {
    static SOURCE: Reusing = Reusing::new(|| {});
    static PAGES: Pages = Pages::new(&SOURCE);
    let first = take(&PAGES, 1);
    let reserved = PAGES.stats().reserved;
    PAGES.yield_room();
    let (hole, room) = SOURCE.hole.lock().unwrap().expect("an end of the reservation was given back");
    assert!(PAGES.stats().reserved < reserved / 1000);

    // More than is left writable, so that another arena is needed.
    let mut runs = Vec::new();
    while runs.last().is_none_or(|run: &Run| !(hole..hole + room).contains(&run.address.addr())) {
        assert!(runs.len() < 1000, "the next arena lies in the hole");
        runs.push(take(&PAGES, 3));
    }
    let inside = runs[runs.len() - 1];
    assert!((hole..hole + room).contains(&std::ptr::from_ref(inside.page).addr()));
    PAGES.set_class(inside.page, Class::of(64));
    assert_eq!(PAGES.class_of(inside.address.addr()), Some(Class::of(64)));
    assert_eq!(PAGES.class_of(first.address.addr()), None);
    assert!(std::ptr::eq(PAGES.page_of(inside.address.addr()).unwrap(), inside.page));
    for run in runs {
        assert!(PAGES.is_used(run.address.addr()));
        // SAFETY: taken above, freed once.
        unsafe { PAGES.free(run.page) };
        assert!(!PAGES.is_used(run.address.addr()));
    }
    assert!(PAGES.check());
    assert_eq!(PAGES.stats().used, PAGE_SIZE);
}

/// As in a signal handler, or in a child whose parent's other thread holds the lock.
#[test]
fn who_cannot_have_the_lock_goes_without() {
    static AGAIN: AtomicBool = AtomicBool::new(false);
    static SOURCE: Reusing = Reusing::new(|| {
        if AGAIN.swap(false, Ordering::Relaxed) {
            PAGES.yield_room();
        }
    });
    static PAGES: Pages = Pages::new(&SOURCE);
    PAGES.configure(64 << 20, 0, 8 << 20, Thp::Auto);
    let first = take(&PAGES, 1);
    let reserved = PAGES.stats().reserved;
    // Pages are made writable under the lock.
    AGAIN.store(true, Ordering::Relaxed);
    let second = take(&PAGES, 200);
    assert!(!AGAIN.load(Ordering::Relaxed), "somebody tried");
    assert_eq!(PAGES.stats().reserved, reserved, "in vain");
    PAGES.yield_room();
    assert!(PAGES.stats().reserved < reserved);
    // SAFETY: taken above, freed once.
    unsafe {
        PAGES.free(first.page);
        PAGES.free(second.page);
    }
    assert!(PAGES.check());
}
