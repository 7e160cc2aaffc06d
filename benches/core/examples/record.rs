//! Runs kmem-bench with an allocator that records what it is asked for, and writes that into the file that `KMEM_TRACE` names, as
//! `src/footprint/trace.rs` reads it. The trace that is kept there is of a page of results being made:
//!
//! ```text
//! KMEM_TRACE=report.trace cargo run --release -p kmem-bench-core --example record -- report --from SESSION... --out page.md
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::Mutex;

use kmem_bench_core::{GLIBC, Program};

/// Bytes of trace, and blocks live at a time, that there is room for.
const ROOM: usize = 16 << 20;
const BLOCKS: usize = 1 << 16;

/// What was recorded. Allocates nothing.
struct Trace {
    bytes: [u8; ROOM],
    len: usize,
    /// Addresses of live blocks: a block's number is its place.
    live: [usize; BLOCKS],
    top: usize,
}

impl Trace {
    fn number(&mut self, mut value: usize) {
        while value >= 128 {
            self.byte(value as u8 | 128);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// The place of a block; the lowest free one for address 0.
    fn place(&mut self, at: usize) -> usize {
        let place = (0..self.top).find(|place| self.live[*place] == at).unwrap_or(self.top);
        self.top = self.top.max(place + 1);
        place
    }

    fn alloc(&mut self, at: usize, layout: Layout) {
        let place = self.place(0);
        self.live[place] = at;
        self.number((layout.size() << 4 | layout.align().ilog2() as usize) << 2);
    }

    fn free(&mut self, at: usize) {
        let place = self.place(at);
        self.live[place] = 0;
        self.number(place << 2 | 1);
    }

    fn resize(&mut self, at: usize, to: usize, size: usize) {
        let place = self.place(at);
        self.live[place] = to;
        self.number(place << 2 | 2);
        self.number(size);
    }
}

struct Recorder {
    lock: Mutex<()>,
    trace: UnsafeCell<Trace>,
}

// SAFETY: the trace is only reached under the lock.
unsafe impl Sync for Recorder {}

impl Recorder {
    fn with<R>(&self, f: impl FnOnce(&mut Trace) -> R) -> R {
        let _locked = self.lock.lock();
        // SAFETY: locked.
        f(unsafe { &mut *self.trace.get() })
    }
}

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Recorder {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        let at = unsafe { System.alloc(layout) };
        self.with(|trace| trace.alloc(at.addr(), layout));
        at
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.with(|trace| trace.free(block.addr()));
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        let at = unsafe { System.realloc(block, layout, bytes) };
        self.with(|trace| trace.resize(block.addr(), at.addr(), bytes));
        at
    }
}

#[global_allocator]
static RECORDER: Recorder =
    Recorder { lock: Mutex::new(()), trace: UnsafeCell::new(Trace { bytes: [0; ROOM], len: 0, live: [0; BLOCKS], top: 0 }) };

static PROGRAM: Program = Program { contestants: &[GLIBC], common: &[] };

fn main() -> std::process::ExitCode {
    let code = kmem_bench_core::run(&PROGRAM);
    let len = RECORDER.with(|trace| trace.len);
    let Ok(path) = std::env::var("KMEM_TRACE") else { return code };
    // SAFETY: what was recorded up to here stays as it is.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const (*RECORDER.trace.get()).bytes).cast::<u8>(), len) };
    if let Err(error) = std::fs::write(&path, bytes) {
        eprintln!("{path}: {error}");
        return std::process::ExitCode::FAILURE;
    }
    code
}
