//! The adapter as this very process's global allocator.

use kmem::{Cache, Flags, Kmem, Knob, Slubq};
use kmem_testkit::{GlobalSubject, Hooks, Profile, StressConfig, ops, property, run, run_or_panic, stress_or_panic};
use std::alloc::{GlobalAlloc, Layout};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

#[global_allocator]
static ALLOCATOR: Kmem = Kmem::new().with(Knob::DecayMs, 20);

fn subject() -> GlobalSubject<'static, Kmem> {
    GlobalSubject::new(&ALLOCATOR).with_hooks(Hooks {
        drain: Some(Box::new(|| {
            kmem::trim();
        })),
        ..Hooks::default()
    })
}

#[test]
fn knobs_of_the_static_count() {
    drop(vec![1_u8; 10]);
    let from_environment = std::env::var("KMEM_CONF").is_ok_and(|conf| conf.contains("decay_ms"));
    assert!(from_environment || Slubq::get().knobs().get(Knob::DecayMs) == 20);
    kmem::set("huge_kb:1m").unwrap();
    assert_eq!(Slubq::get().knobs().get(Knob::HugeKb), 1 << 20);
    kmem::set("huge_kb:32k").unwrap();
    assert_eq!(kmem::set("cpus:1"), Err(kmem::Refusal::TooLate));
    assert_eq!(kmem::set("nonesuch:1"), Err(kmem::Refusal::Unknown));
}

#[test]
fn random_layouts_under_the_oracle() {
    for (seed, profile, n) in [(1, Profile::Small, 20_000), (2, Profile::Mixed, 6000), (3, Profile::Large, 300)] {
        run_or_panic(&subject(), &ops(seed, n, profile));
    }
    property(Profile::Mixed, 16, |ops| run(&subject(), ops));
}

#[test]
fn threads_exchange_blocks() {
    let config = StressConfig { threads: 6, ops_per_thread: 20_000, pass_percent: 40, respawn: true, ..StressConfig::default() };
    stress_or_panic(&subject(), &config);
    let config = StressConfig { threads: 3, ops_per_thread: 1500, slots: 64, profile: Profile::Mixed, ..config };
    stress_or_panic(&subject(), &config);
}

#[test]
fn the_standard_collections_work() {
    let (sender, receiver) = mpsc::channel::<BTreeMap<String, Vec<usize>>>();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sender = sender.clone();
            scope.spawn(move || {
                for round in 0..50 {
                    let map = (0..100).map(|i| (format!("{thread}-{round}-{i}"), vec![i; i])).collect();
                    sender.send(map).unwrap();
                }
            });
        }
        drop(sender);
        let mut all: HashMap<String, Vec<usize>> = HashMap::new();
        receiver.iter().for_each(|map| all.extend(map));
        assert_eq!(all.len(), 4 * 50 * 100);
        assert!(all.iter().all(|(_, list)| list.iter().all(|&i| i == list.len())));
    });
}

#[test]
fn a_growing_vector_is_not_copied_once_it_is_huge() {
    let mut bytes = Vec::<u8>::with_capacity(33 << 20);
    bytes.resize(33 << 20, 1);
    let before = bytes.as_ptr();
    bytes.reserve_exact(200 << 20);
    bytes.resize(200 << 20, 2);
    assert!(bytes[..33 << 20].iter().all(|&byte| byte == 1) && bytes[33 << 20..].iter().all(|&byte| byte == 2));
    bytes.truncate(64);
    bytes.shrink_to_fit();
    assert_eq!(bytes[..], [1; 64]);
    assert_ne!(bytes.as_ptr(), before);
}

#[test]
fn zeroed_memory_is_zero_and_fresh_memory_is_not_touched() {
    for round in 0..3 {
        for size in [100, 5000, 40 << 10, 300 << 10, 5 << 20, 40 << 20] {
            let mut block = vec![0_u8; size];
            assert!(block.iter().all(|&byte| byte == 0), "{size} in round {round}");
            block.fill(0xFF);
        }
    }
    // 256 MiB of zeroes that nobody looks at cost no memory to speak of.
    let before = resident();
    let block = vec![0_u8; 256 << 20];
    assert!(resident() < before + (64 << 20));
    drop(block);
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn sizes_beyond_memory_are_refused() {
    for size in [isize::MAX as usize - 4096, 1 << 46, 1 << 60] {
        for align in [1, 64, 4096, 1 << 20] {
            let Ok(layout) = Layout::from_size_align(size, align) else { continue };
            // SAFETY: the size is not 0; nothing is done with the block.
            assert!(unsafe { ALLOCATOR.alloc(layout) }.is_null(), "{size}");
        }
    }
    let mut block = vec![7_u8; 100_000];
    assert!(block.try_reserve_exact(1 << 60).is_err());
    assert!(block.iter().all(|&byte| byte == 7));
}

#[test]
fn strange_alignments_are_kept() {
    for shift in 0..=27 {
        let align = 1_usize << shift;
        for size in [1, 24, 4096, 70_000, 40 << 20] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the size is not 0; freed with the same layout.
            unsafe {
                let block = ALLOCATOR.alloc(layout);
                assert!(!block.is_null() && block.addr().is_multiple_of(align), "{size} aligned to {align}");
                block.write(1);
                block.add(size - 1).write(2);
                ALLOCATOR.dealloc(block, layout);
            }
        }
    }
}

#[test]
fn thread_exit_may_allocate_and_free() {
    struct Late(Vec<String>);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0 = (0..100).map(|i| format!("{i} at exit")).collect();
        }
    }
    thread_local! {
        static LATE: std::cell::RefCell<Late> = const { std::cell::RefCell::new(Late(Vec::new())) };
    }
    for _ in 0..200 {
        std::thread::spawn(|| LATE.with(|late| late.borrow_mut().0.push("early".into()))).join().unwrap();
    }
}

#[test]
fn memory_comes_back() {
    let blocks: Vec<_> = (0..200_000).map(|i| vec![1_u8; 50 + i % 500]).collect();
    let peak = resident();
    drop(blocks);
    kmem::trim();
    let stats = kmem::stats();
    assert!(resident() < peak, "{peak} -> {}, {stats:?}", resident());
    let table = kmem::slabinfo().to_string();
    assert!(table.starts_with("slabinfo - version: 2.1\n# name "), "{table}");
    assert!(table.lines().any(|line| line.starts_with("kmalloc-64 ")), "{table}");
}

#[test]
fn objects_keep_their_constructed_state() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    struct Buffer(Vec<u8>);
    let cache = Cache::new("test buffer", || {
        MADE.fetch_add(1, Ordering::Relaxed);
        Buffer(Vec::with_capacity(100))
    })
    .unwrap();
    for _ in 0..10_000 {
        let mut buffer = cache.alloc().unwrap();
        assert!(buffer.0.is_empty() && buffer.0.capacity() >= 100);
        buffer.0.extend_from_slice(b"some text");
        buffer.0.clear();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let held: Vec<_> = (0..500).map(|_| cache.alloc().unwrap()).collect();
                assert!(held.iter().all(|buffer| buffer.0.is_empty()));
            });
        }
    });
    let per_slab = cache.raw().geometry().objects as usize;
    assert!(MADE.load(Ordering::Relaxed).is_multiple_of(per_slab));
    assert!(format!("{cache:?}").contains("test buffer"));
}

#[test]
fn plain_objects_are_dropped_when_they_go_back() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted(#[allow(dead_code)] String);
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let cache = Cache::alone("test counted", Flags::HWCACHE_ALIGN).unwrap();
    let objects: Vec<_> = (0..1000).map(|i| cache.insert(Counted(i.to_string())).unwrap()).collect();
    assert!(objects.iter().all(|object| std::ptr::from_ref(&**object).addr().is_multiple_of(64)));
    std::thread::scope(|scope| {
        scope.spawn(move || drop(objects));
    });
    assert_eq!(DROPPED.load(Ordering::Relaxed), 1000);
    cache.shrink();
    assert_eq!(Slubq::get().live_objects(cache.raw()), 0);
}

#[test]
fn a_forgotten_object_keeps_its_cache_alive() {
    let cache = Cache::<u64, kmem::Plain>::alone("test forgotten", Flags::NONE).unwrap();
    let object = cache.insert(5).unwrap();
    let at = std::ptr::from_ref(&*object);
    std::mem::forget(object);
    drop(cache);
    kmem::trim();
    // SAFETY: a forgotten object is never freed.
    assert_eq!(unsafe { at.read() }, 5);
}

#[test]
fn a_value_whose_drop_unwinds_gives_its_memory_back() {
    struct Bomb(#[allow(dead_code)] u64);
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }
    let cache = Cache::alone("test bomb", Flags::NONE).unwrap();
    let object = cache.insert(Bomb(1)).unwrap();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(object))).unwrap_err();
    cache.shrink();
    assert_eq!(Slubq::get().live_objects(cache.raw()), 0);
}
