//! Heaps in buffers and over callbacks, behind locks of the user's; headers; the numbers that a heap tells.

mod common;

use kmem_base::source::OsSource;
use kmem_slob::{Alone, Book, FixedSlob, GrowSlob, HEADER, Heap, RawLock, Slob, Unchecked};
use kmem_testkit::{GlobalSubject, Hooks, Profile, StressConfig, ops, run_or_panic, stress_or_panic};
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

both!(blocks_with_headers_know_their_size, the_numbers_add_up);

/// The simplest lock there is.
struct Spin(AtomicBool);

// SAFETY: whoever sets it has it.
unsafe impl RawLock for Spin {
    fn lock(&self) {
        while self.0.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
    }
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What `lock_api` calls a mutex, and whoever implements it, serves as well: a few lines of the user's.
struct Adapted<R>(R);

trait RawMutex {
    fn lock(&self);
    unsafe fn unlock(&self);
}

impl RawMutex for Spin {
    fn lock(&self) {
        RawLock::lock(self);
    }
    unsafe fn unlock(&self) {
        // SAFETY: the caller's.
        unsafe { RawLock::unlock(self) };
    }
}

// SAFETY: a mutex.
unsafe impl<R: RawMutex> RawLock for Adapted<R> {
    fn lock(&self) {
        self.0.lock();
    }
    unsafe fn unlock(&self) {
        // SAFETY: the caller's.
        unsafe { self.0.unlock() };
    }
}

/// Statics cannot be generic.
macro_rules! statics {
    ($module:ident, $book:ty) => {
        mod $module {
            use super::*;

            const SIZE: usize = 4 << 20;
            static mut MEMORY: [u8; SIZE] = [0; SIZE];
            static FIXED: FixedSlob<Adapted<Spin>, Unchecked, $book> = FixedSlob::new(Adapted(Spin(AtomicBool::new(false))), {
                let memory = &raw mut MEMORY;
                // SAFETY: the one use of it.
                unsafe { &mut *memory }
            });

            #[test]
            fn a_buffer_serves_threads() {
                let check = || FIXED.locked(|heap| heap.check()).map_err(|broken| format!("{broken:?}"));
                let subject = GlobalSubject::new(&FIXED).with_hooks(Hooks {
                    check: Some(Box::new(check)),
                    may_fail: true,
                    ..Hooks::default()
                });
                run_or_panic(&subject, &ops(11, 4000, Profile::Small));
                let config = StressConfig { threads: 3, ops_per_thread: 5000, seed: 12, ..StressConfig::default() };
                stress_or_panic(&subject, &config);
                let stats = FIXED.locked(|heap| heap.stats());
                assert_eq!((stats.used, stats.free), (0, stats.largest_hole));
            }

            static BREAK: AtomicUsize = AtomicUsize::new(0);
            static mut LAND: [u64; 1 << 18] = [0; 1 << 18];

            /// Like `sbrk`, with somebody who takes something in between now and then.
            fn more(bytes: usize) -> Option<(NonNull<u8>, usize)> {
                let bytes = bytes.next_multiple_of(1000) + 8;
                let gap = if BREAK.load(Ordering::Relaxed) % 7 == 3 { 5000 } else { 0 };
                let at = BREAK.fetch_add(bytes + gap, Ordering::Relaxed) + gap;
                let start = (&raw mut LAND).cast::<u8>();
                if at + bytes > 8 << 18 {
                    BREAK.fetch_sub(bytes + gap, Ordering::Relaxed);
                    return None;
                }
                NonNull::new(start.wrapping_add(at)).map(|at| (at, bytes))
            }

            // SAFETY: `more` gives away memory of its own, upwards; one test uses this.
            static GROWING: GrowSlob<Spin, Unchecked, $book> = unsafe { GrowSlob::growing(Spin(AtomicBool::new(false)), more) };

            #[test]
            fn a_callback_is_asked_for_more() {
                let check = || GROWING.locked(|heap| heap.check()).map_err(|broken| format!("{broken:?}"));
                let subject = GlobalSubject::new(&GROWING).with_hooks(Hooks {
                    check: Some(Box::new(check)),
                    may_fail: true,
                    ..Hooks::default()
                });
                for seed in 20..24 {
                    run_or_panic(&subject, &ops(seed, 3000, Profile::Small));
                }
                let stats = GROWING.locked(|heap| heap.stats());
                assert_eq!(stats.used, 0);
                assert!(stats.pages > 4 && BREAK.load(Ordering::Relaxed) > 20_000, "{stats:?}");
                let layout = Layout::from_size_align(1 << 19, 8).unwrap();
                // SAFETY: not empty; freed with its layout.
                unsafe {
                    let large = GROWING.alloc(layout);
                    assert!(!large.is_null());
                    GROWING.dealloc(large, layout);
                    assert!(GROWING.alloc(Layout::from_size_align(1 << 21, 8).unwrap()).is_null());
                }
            }

            #[test]
            fn memory_below_what_came_before_is_refused() {
                static CALLS: AtomicUsize = AtomicUsize::new(0);
                static mut TWO: [[u64; 64]; 2] = [[0; 64]; 2];
                fn downwards(_: usize) -> Option<(NonNull<u8>, usize)> {
                    let index = 1_usize.checked_sub(CALLS.fetch_add(1, Ordering::Relaxed))?;
                    let start = (&raw mut TWO).cast::<[u64; 64]>();
                    NonNull::new(start.wrapping_add(index).cast()).map(|at| (at, 512))
                }
                // SAFETY: one thread; memory of its own, though downwards, which is what this is about.
                let heap: GrowSlob<Alone, Unchecked, $book> = unsafe { GrowSlob::growing(Alone::new(), downwards) };
                // SAFETY: not empty.
                unsafe {
                    assert!(!heap.alloc(Layout::new::<u64>()).is_null());
                    assert!(heap.alloc(Layout::new::<[u64; 60]>()).is_null());
                }
                assert_eq!(heap.locked(|heap| heap.check()), Ok(()));
            }
        }
    };
}

statics!(lists_in_statics, kmem_slob::Lists);
statics!(marks_in_statics, kmem_slob::Marks);

fn blocks_with_headers_know_their_size<B: Book>() {
    type Heaped<B> = Slob<OsSource, Unchecked, B>;
    let mut heap = Heaped::<B>::over(&OsSource);
    let mut block = heap.malloc(10);
    // SAFETY: blocks of this heap's, used as long as they live.
    unsafe {
        assert_eq!((Heaped::<B>::size_of(block), block.addr() % HEADER), (10, 0));
        block.write_bytes(7, 10);
        for size in [100, 5000, 1, 0, 70_000] {
            let other = heap.malloc(size);
            block = heap.resize(block, size.max(10));
            assert_eq!((block.read(), Heaped::<B>::size_of(block), Heaped::<B>::size_of(other)), (7, size.max(10), size));
            heap.free(other);
        }
        heap.free(std::ptr::null_mut());
        let fresh = heap.resize(std::ptr::null_mut(), 5);
        assert!(heap.malloc(usize::MAX).is_null() && heap.resize(fresh, usize::MAX - 3).is_null());
        heap.free(fresh);
        heap.free(block);
    }
    assert_eq!(heap.stats().pages, 0);
}

fn the_numbers_add_up<B: Book>() {
    let buffer = Vec::leak(vec![0_u8; 1 << 16]);
    let mut heap = Heap::<_, Unchecked, B>::new(kmem_slob::Fixed::new(buffer));
    assert_eq!(heap.stats(), kmem_slob::Stats::default());
    let layout = Layout::from_size_align(5000, 8).unwrap();
    heap.alloc(layout);
    let stats = heap.stats();
    assert!(stats.used == 5000_usize.next_multiple_of(B::UNIT) && (16..=17).contains(&stats.pages));
    assert!(stats.free + stats.used + stats.table >= (1 << 16) - 3 * B::UNIT && stats.largest_hole == stats.free);
    assert!(stats.mapped() <= 3 * 4096 && stats.empty_pages >= 13, "{stats:?}");
    assert_eq!(Heap::<kmem_slob::Fixed, Unchecked, B>::usable_size(layout), stats.used);
}
