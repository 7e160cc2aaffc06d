//! Programs that start thousands of threads. `KMEM_STORM=10` makes it ten times as many.

use kmem::{Kmem, Slubq};
use kmem_base::percpu::Mode;
use kmem_testkit::child::Child;
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

#[global_allocator]
static ALLOCATOR: Kmem = Kmem::new();

/// Threads at a time.
const CREW: usize = 6;

static DESTROYED: AtomicUsize = AtomicUsize::new(0);

/// What a thread leaves for its own destructors: they free it, and allocate once more.
struct Estate(Vec<String>);

impl Drop for Estate {
    fn drop(&mut self) {
        let sum: usize = self.0.drain(..).map(|text| text.len()).sum();
        DESTROYED.fetch_add(usize::from(!vec![sum; 9].is_empty()), Ordering::Relaxed);
    }
}

thread_local! {
    static ESTATE: RefCell<Estate> = const { RefCell::new(Estate(Vec::new())) };
}

/// Lets `count` threads live one after the other: each frees what the one before left, and leaves something itself.
fn dynasty(count: usize, lane: usize) {
    let mut inheritance: Vec<Vec<u8>> = Vec::new();
    for life in 0..count {
        let (leave, left) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for (at, bytes) in inheritance.iter().enumerate() {
                assert!(bytes.iter().all(|byte| *byte == at as u8), "block {at} of life {life} arrived as it was sent");
            }
            drop(inheritance);
            ESTATE.with_borrow_mut(|estate| estate.0.extend((0..5).map(|at| "x".repeat(life % 90 + at))));
            leave.send((0..8_usize).map(|at| vec![at as u8; at * 67 + (life + lane) % 40]).collect()).expect("somebody waits");
        });
        inheritance = left.recv().expect("a legacy");
        thread.join().expect("a quiet end");
    }
}

fn live_bytes() -> usize {
    let mut live = 0;
    let slubq = Slubq::get();
    slubq.for_each_cache(|cache| live += slubq.live_objects(cache) * cache.object_size());
    live
}

fn storm() {
    let times = std::env::var("KMEM_STORM").map_or(1, |times| times.parse().expect("KMEM_STORM is a number"));
    let lives: usize = 800 * times;
    let sizes = Mutex::new(Vec::with_capacity(8));
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for lane in 0..CREW {
                scope.spawn(move || dynasty(lives / 5, lane));
            }
        });
        kmem::check().unwrap();
        let stats = Slubq::get().page_stats();
        sizes.lock().unwrap().push((live_bytes(), stats.used + stats.retained));
    }
    assert_eq!(DESTROYED.load(Ordering::Relaxed), lives / 5 * 5 * CREW);
    let sizes = sizes.into_inner().unwrap();
    for (live, footprint) in &sizes[1..] {
        assert!(*live <= sizes[0].0 + (16 << 10), "objects of dead threads are in use: {sizes:?}");
        assert!(*footprint <= sizes[0].1 + (2 << 20), "memory grows with the number of threads: {sizes:?}");
    }
    eprintln!("{sizes:?}");
}

#[test]
fn short_threads_of_a_program_leave_nothing_behind() {
    Child::new("short_threads_of_a_program_leave_nothing_behind").timeout(600).expect_ok(storm);
}

#[test]
fn short_threads_of_a_program_leave_nothing_behind_in_locked_rows() {
    let test = "short_threads_of_a_program_leave_nothing_behind_in_locked_rows";
    Child::new(test).env("KMEM_CONF", "percpu:locked").timeout(600).expect_ok(|| {
        assert_eq!(Slubq::get().mode(), Mode::Locked);
        storm();
    });
}
