//! What falls on the threads of this process: signals and migrations.
//!
//! Each thread has a timer of its own, which the handler of its signal sets anew, to a few microseconds. So a thread goes on between
//! two signals however long their delivery takes, and threads that do not run cost nothing.

use kmem_testkit::SplitMix64;
use std::collections::BTreeMap;
use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null_mut, with_exposed_provenance, with_exposed_provenance_mut, without_provenance_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

const SIGNAL: libc::c_int = libc::SIGUSR1;

/// Most microseconds between two signals.
const LULL: u64 = 24;
/// Threads of one storm, dead ones included, before the numbers begin anew.
const SLOTS: usize = 1 << 14;

/// The timers, by the number that their signals carry, plus one; 0 for none.
static TIMERS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
static BORN: AtomicUsize = AtomicUsize::new(0);
static SIGNALS: AtomicU64 = AtomicU64::new(0);
static ABORTS: AtomicU64 = AtomicU64::new(0);
static MOVES: AtomicU64 = AtomicU64::new(0);

/// What has fallen so far.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) signals: u64,
    /// Of the signals, those that aborted a restartable sequence.
    pub(crate) aborts: u64,
    pub(crate) moves: u64,
}

pub(crate) fn counts() -> Counts {
    Counts { signals: SIGNALS.load(Relaxed), aborts: ABORTS.load(Relaxed), moves: MOVES.load(Relaxed) }
}

/// Counts, and sets the timer anew; a handler must not allocate (theory 7.4 of slubq).
extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let count = SIGNALS.fetch_add(1, Relaxed);
    if is_abort(context) {
        ABORTS.fetch_add(1, Relaxed);
    }
    // SAFETY: the kernel's, for a handler with `SA_SIGINFO`; `Timer::new` has given the value.
    let slot = unsafe { (*info).si_value() }.sival_ptr.addr();
    if let Some(timer) = TIMERS.get(slot).and_then(|timer| timer.load(Relaxed).checked_sub(1)) {
        // As good as random, since all threads count.
        let lull = count.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        start(timer, 1000 * (lull % LULL) as i64 + 500);
    }
}

/// One signal, so many nanoseconds from now, unless the timer has been deleted.
fn start(timer: usize, nanoseconds: i64) {
    let time = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec { tv_sec: 0, tv_nsec: nanoseconds },
    };
    // SAFETY: a time that outlives the call, and a number that the kernel knows or refuses. A handler must leave `errno` as it was.
    unsafe {
        let error = *libc::__errno_location();
        libc::timer_settime(with_exposed_provenance_mut(timer), 0, &raw const time, null_mut());
        *libc::__errno_location() = error;
    }
}

/// True if the thread goes on at an abort handler: the kernel has moved it there before it made the signal's frame.
#[cfg(target_arch = "x86_64")]
fn is_abort(context: *mut libc::c_void) -> bool {
    // SAFETY: the kernel's, for a handler with `SA_SIGINFO`; there is code where the thread goes on, and something before it.
    unsafe {
        let ip = (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize];
        with_exposed_provenance::<u32>(ip as usize - 4).read_unaligned() == 0x5305_3053
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn is_abort(_: *mut libc::c_void) -> bool {
    false
}

/// Rages until `done`, on every thread but this one and such as come later.
pub(crate) fn rage(done: &AtomicBool) {
    handle();
    // SAFETY: takes nothing.
    let myself = unsafe { libc::gettid() };
    let (cpus, mut dice, mut timers) = (allowed(), SplitMix64::new(1), BTreeMap::new());
    while !done.load(Relaxed) {
        let threads = threads();
        timers.retain(|thread, _: &mut Timer| threads.contains(thread));
        for &thread in threads.iter().filter(|&&thread| thread != myself) {
            timers.entry(thread).or_insert_with(|| Timer::new(thread));
        }
        for _ in 0..20 {
            let thread = threads[dice.below(threads.len())];
            let cpu = cpus[dice.below(cpus.len())];
            // Now and then it may run anywhere.
            let set = if dice.below(4) == 0 { cpus.as_slice() } else { &[cpu] };
            if thread != myself && allow(thread, set) {
                MOVES.fetch_add(1, Relaxed);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    drop(timers);
    threads().into_iter().for_each(|thread| _ = allow(thread, &cpus));
}

fn handle() {
    // SAFETY: a handler that only touches atomics, its own frame and code.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        assert_eq!(libc::sigaction(SIGNAL, &raw const action, null_mut()), 0);
    }
}

/// The threads of this process.
fn threads() -> Vec<libc::pid_t> {
    let names = std::fs::read_dir("/proc/self/task").unwrap();
    names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The CPUs that this process may use.
fn allowed() -> Vec<usize> {
    // SAFETY: writes the set.
    let set = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
        set
    };
    // SAFETY: the numbers are below the size of a set.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// False if the thread is no more.
fn allow(thread: libc::pid_t, cpus: &[usize]) -> bool {
    // SAFETY: a set without CPUs, to which CPUs of a set of that size are added.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(thread, size_of_val(&set), &raw const set) == 0
    }
}

/// Signals one thread again and again; nothing if the thread had ended already.
struct Timer(Option<libc::timer_t>);

impl Timer {
    fn new(thread: libc::pid_t) -> Self {
        let slot = BORN.fetch_add(1, Relaxed) % SLOTS;
        let mut timer = MaybeUninit::uninit();
        // SAFETY: an event that outlives the call, which writes the timer if it succeeds.
        let timer = unsafe {
            let mut event: libc::sigevent = zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = SIGNAL;
            event.sigev_notify_thread_id = thread;
            event.sigev_value.sival_ptr = without_provenance_mut(slot);
            let made = libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr()) == 0;
            made.then(|| timer.assume_init())
        };
        if let Some(timer) = timer {
            let timer = timer.expose_provenance();
            TIMERS[slot].store(timer + 1, Relaxed);
            start(timer, 1000);
        }
        Self(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(timer) = self.0 {
            // SAFETY: made above, deleted once.
            unsafe { libc::timer_delete(timer) };
        }
    }
}
