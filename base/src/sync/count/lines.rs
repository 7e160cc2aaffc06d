//! Who wrote a cache line last, and which lines of source make lines of cache move.

use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed};

/// Bytes of a cache line, log2.
const LINE_SHIFT: u32 = 6;
/// Bits of a CPU's number.
const CPU_BITS: u32 = 13;
/// Lines that are remembered, log2. Of two that share a place the older is forgotten: a move is missed, none is invented.
const REMEMBERED: u32 = 18;
/// Places for lines of source.
const SITES: usize = 512;

/// Number of the cache line and, below it, of the CPU that wrote it last, plus one.
static LAST: [AtomicU64; 1 << REMEMBERED] = [const { AtomicU64::new(0) }; 1 << REMEMBERED];

/// Whether writes are counted.
static WATCHED: AtomicBool = AtomicBool::new(true);

/// Counts writes, or does not: then locks are held about as long as in other builds. On at first.
pub fn watch(writes: bool) {
    WATCHED.store(writes, Relaxed);
}

struct Entry {
    location: AtomicPtr<Location<'static>>,
    writes: AtomicU64,
    moved: AtomicU64,
}

static ENTRIES: [Entry; SITES] =
    [const { Entry { location: AtomicPtr::new(core::ptr::null_mut()), writes: AtomicU64::new(0), moved: AtomicU64::new(0) } };
        SITES];

/// A line of source that writes atomics.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// File.
    pub file: &'static str,
    /// Line.
    pub line: u32,
    /// Writes, from any CPU.
    pub writes: u64,
    /// Those of a cache line that another CPU had written last.
    pub moved: u64,
}

/// Calls `each` with every line of source that has written. One that was compiled several times comes several times.
pub fn for_each_site(mut each: impl FnMut(Site)) {
    for entry in &ENTRIES {
        // SAFETY: null, or from a `&'static Location`.
        if let Some(location) = unsafe { entry.location.load(Relaxed).as_ref() } {
            let (writes, moved) = (entry.writes.load(Relaxed), entry.moved.load(Relaxed));
            each(Site { file: location.file(), line: location.line(), writes, moved });
        }
    }
}

/// Notes a write that is about to happen.
pub(super) fn wrote(address: usize, location: &'static Location<'static>) {
    if !WATCHED.load(Relaxed) {
        return;
    }
    let entry = entry(location);
    entry.writes.fetch_add(1, Relaxed);
    if moves(address, cpu::number()) {
        entry.moved.fetch_add(1, Relaxed);
    }
}

/// Whether a write by `cpu` moves the line of `address`, which is that CPU's afterwards.
fn moves(address: usize, cpu: u64) -> bool {
    let line = (address >> LINE_SHIFT) as u64;
    let place = line.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - REMEMBERED);
    let new = line << CPU_BITS | ((cpu + 1) & ((1 << CPU_BITS) - 1));
    let old = LAST[place as usize].swap(new, Relaxed);
    old != new && old >> CPU_BITS == line
}

/// The place of `location`, found by its address; the last one takes those that find none.
fn entry(location: &'static Location<'static>) -> &'static Entry {
    let location = core::ptr::from_ref(location).cast_mut();
    let start = (location.addr() >> 3).wrapping_mul(0x9E37_79B9) % SITES;
    for probe in 0..SITES {
        let entry = &ENTRIES[(start + probe) % SITES];
        let found = entry.location.load(Relaxed);
        if found == location {
            return entry;
        }
        if found.is_null() {
            match entry.location.compare_exchange(found, location, Relaxed, Relaxed) {
                Ok(_) => return entry,
                Err(now) if now == location => return entry,
                Err(_) => {}
            }
        }
    }
    &ENTRIES[SITES - 1]
}

#[cfg(not(test))]
mod cpu {
    /// The CPU that this thread is on.
    pub(super) fn number() -> u64 {
        // SAFETY: takes nothing.
        u64::from(unsafe { libc::sched_getcpu() }.unsigned_abs())
    }
}

/// Does something as if on CPU `number`.
#[cfg(test)]
pub(super) fn as_cpu<T>(number: u64, work: impl FnOnce() -> T) -> T {
    cpu::set(number);
    work()
}

#[cfg(test)]
mod cpu {
    extern crate std;
    use core::cell::Cell;

    std::thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });

    pub(super) fn number() -> u64 {
        NUMBER.get()
    }

    pub(super) fn set(number: u64) {
        NUMBER.set(number);
    }
}
