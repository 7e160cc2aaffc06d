//! What glibc offers beside the standards: trimming, statistics, options, and the names under which it calls itself.

use crate::heap;
use crate::summary::Use;
use crate::text::{to_fd, to_stream};
use core::ffi::{c_int, c_void};
use core::fmt::{Result, Write};
use kmem_base::knobs::Knob;
use kmem_global::Slubq;

/// Gives everything that is not in use back to the system; `pad` is not looked at. 1 if anything went back.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_trim(_pad: usize) -> c_int {
    let before = heap::errno();
    let trimmed = kmem_global::trim();
    heap::set_errno(before);
    c_int::from(trimmed > 0)
}

/// Writes statistics and the table of caches to standard error.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_stats() {
    let mut out = to_fd(2);
    let _cannot_fail = write!(out, "{}\n{}", Use::now(), kmem_global::slabinfo());
}

/// Writes statistics as XML, in the form of glibc's version 1 as far as it fits: `system current` is what is mapped and may be
/// resident, `rest` what of it is free.
///
/// # Safety
/// C's: `stream` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 || stream.is_null() {
        heap::set_errno(libc::EINVAL);
        return -1;
    }
    let _cannot_fail = write_info(&mut to_stream(stream));
    0
}

fn write_info(out: &mut impl Write) -> Result {
    let held = Use::now();
    writeln!(out, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>")?;
    let mut result = Ok(());
    Slubq::get().for_each_cache(|cache| {
        let info = Slubq::get().cache_info(cache);
        let (size, free) = (cache.size(), info.free + info.queued + info.shared);
        if free > 0 && result.is_ok() {
            result = writeln!(out, "<size from=\"{size}\" to=\"{size}\" total=\"{}\" count=\"{free}\"/>", free * size);
        }
    });
    result?;
    let totals = |out: &mut dyn Write| {
        writeln!(
            out,
            "<total type=\"fast\" count=\"0\" size=\"0\"/>\n<total type=\"rest\" count=\"1\" size=\"{}\"/>",
            held.retained()
        )?;
        writeln!(out, "<system type=\"current\" size=\"{0}\"/>\n<system type=\"max\" size=\"{0}\"/>", held.mapped())?;
        writeln!(out, "<aspace type=\"total\" size=\"{0}\"/>\n<aspace type=\"mprotect\" size=\"{0}\"/>", held.mapped())
    };
    writeln!(out, "</sizes>")?;
    totals(out)?;
    writeln!(out, "</heap>")?;
    totals(out)?;
    writeln!(out, "</malloc>")
}

/// Turns what corresponds to a knob (`M_MMAP_THRESHOLD`), accepts what glibc knows and has no meaning here, and refuses the rest.
/// 1 if accepted.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mallopt(option: c_int, value: c_int) -> c_int {
    match option {
        libc::M_MMAP_THRESHOLD => c_int::from(value >= 0 && set(Knob::HugeKb, (value as u64 >> 10).max(128))),
        libc::M_MXFAST => c_int::from((0..=160).contains(&value)),
        libc::M_CHECK_ACTION..=libc::M_TRIM_THRESHOLD | libc::M_ARENA_TEST | libc::M_ARENA_MAX => 1,
        _ => 0,
    }
}

fn set(knob: Knob, value: u64) -> bool {
    heap::prepare();
    let slubq = Slubq::get();
    let set = slubq.ready() && slubq.knobs().set(knob, value).is_ok();
    slubq.apply_knobs();
    set
}

/// glibc's `struct mallinfo2`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct MallInfo2 {
    arena: usize,
    ordblks: usize,
    smblks: usize,
    hblks: usize,
    hblkhd: usize,
    usmblks: usize,
    fsmblks: usize,
    uordblks: usize,
    fordblks: usize,
    keepcost: usize,
}

/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mallinfo2() -> MallInfo2 {
    let held = Use::now();
    MallInfo2 {
        arena: held.mapped(),
        ordblks: 1,
        uordblks: held.live,
        fordblks: held.retained(),
        keepcost: held.retained(),
        ..MallInfo2::default()
    }
}

/// The same in ints: what does not fit is cut to the largest, where glibc's wraps.
///
/// # Safety
/// C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mallinfo() -> libc::mallinfo {
    // SAFETY: all integers.
    let (wide, mut info) = unsafe { (mallinfo2(), core::mem::zeroed::<libc::mallinfo>()) };
    let cut = |bytes: usize| c_int::try_from(bytes).unwrap_or(c_int::MAX);
    info.arena = cut(wide.arena);
    info.ordblks = cut(wide.ordblks);
    info.uordblks = cut(wide.uordblks);
    info.fordblks = cut(wide.fordblks);
    info.keepcost = cut(wide.keepcost);
    info
}

/// glibc's own names of the family, by which old programs and some debuggers call it.
macro_rules! aliases {
    ($($alias:ident = $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)+) => {$(
        /// # Safety
        /// C's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $alias($($argument: $type),*) $(-> $result)? {
            // SAFETY: the caller's.
            unsafe { crate::c::$name($($argument),*) }
        }
    )+};
}

aliases! {
    __libc_malloc = malloc(size: usize) -> *mut c_void;
    __libc_calloc = calloc(count: usize, size: usize) -> *mut c_void;
    __libc_realloc = realloc(block: *mut c_void, size: usize) -> *mut c_void;
    __libc_free = free(block: *mut c_void);
    __libc_cfree = free(block: *mut c_void);
    __libc_memalign = memalign(align: usize, size: usize) -> *mut c_void;
    __libc_valloc = valloc(size: usize) -> *mut c_void;
    __libc_pvalloc = pvalloc(size: usize) -> *mut c_void;
    __posix_memalign = posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int;
    cfree = free(block: *mut c_void);
}
