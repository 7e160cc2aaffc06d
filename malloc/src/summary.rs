//! What a process holds, and what it says of it when it ends.

use crate::text::{Text, to_fd};
use core::ffi::CStr;
use core::fmt::{self, Display, Formatter, Write};
use kmem_base::percpu::Mode;
use kmem_global::{Slubq, Stats, slabinfo, stats};

/// Names the file that a process appends a summary to when it ends.
const FILE: &CStr = c"KMEM_STATS";

/// Bytes, by what they are for.
pub(crate) struct Use {
    pub(crate) live: usize,
    stats: Stats,
}

/// The heap's statistics; nothing, if nothing was ever allocated.
pub(crate) fn statistics() -> Stats {
    if Slubq::get().mode() == Mode::Down { Stats::default() } else { stats() }
}

impl Use {
    pub(crate) fn now() -> Self {
        let stats = statistics();
        let kept = stats.retained;
        let idle = kept.queues + kept.depots + kept.slabs + kept.metadata;
        Self { live: stats.pages.used.saturating_sub(idle), stats }
    }

    /// Kept without being in use.
    pub(crate) fn retained(&self) -> usize {
        let kept = self.stats.retained;
        kept.queues + kept.depots + kept.slabs + kept.pages
    }

    /// Taken from the system and not given back.
    pub(crate) fn mapped(&self) -> usize {
        self.stats.pages.used + self.stats.retained.pages
    }
}

impl Display for Use {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kept, kib) = (self.stats.retained, |bytes: usize| bytes.div_ceil(1024));
        writeln!(f, "peak resident {} KiB, live {} KiB, retained {} KiB", peak(), kib(self.live), kib(self.retained()))?;
        write!(f, "retained: queues {}, depots {}, slabs {}", kib(kept.queues), kib(kept.depots), kib(kept.slabs))?;
        write!(f, ", pages {} KiB; metadata {} KiB", kib(kept.pages), kib(kept.metadata))
    }
}

/// The process's largest resident set in KiB.
fn peak() -> i64 {
    // SAFETY: all integers, which the call fills in.
    unsafe {
        let mut usage = core::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_maxrss
    }
}

/// Appends a summary to the file that `KMEM_STATS` names, if it names one.
extern "C" fn at_exit() {
    // SAFETY: reads the environment; opens, writes and closes a file of its own.
    unsafe {
        let path = secure_getenv(FILE.as_ptr());
        if path.is_null() {
            return;
        }
        let file = libc::open(path, libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC, 0o644);
        if file < 0 {
            return;
        }
        // Processes that end together must not mix.
        libc::flock(file, libc::LOCK_EX);
        write_to(to_fd(file));
        libc::close(file);
    }
}

fn write_to(mut out: Text<impl FnMut(&[u8])>) {
    // SAFETY: the C library's name of the program.
    let name = unsafe { CStr::from_ptr(program_invocation_short_name) }.to_str().unwrap_or("?");
    // SAFETY: takes nothing.
    let process = unsafe { libc::getpid() };
    let _cannot_fail = writeln!(out, "== {name} [{process}]\n{}\n{}", Use::now(), slabinfo());
}

// glibc's, which the libc crate does not have.
unsafe extern "C" {
    fn secure_getenv(name: *const core::ffi::c_char) -> *const core::ffi::c_char;
    static program_invocation_short_name: *const core::ffi::c_char;
}

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;
