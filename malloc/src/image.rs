//! Where this library lies in memory, and who is bound to it.

use core::ptr::null;
use kmem_base::sync::{AtomicU8, Ordering};

unsafe extern "C" {
    /// The first byte of this library's image; defined by the linker, seen by nobody else.
    static __ehdr_start: libc::Elf64_Ehdr;
}

/// A pointer that the dynamic linker has to relocate, and what it points to.
static MARK: Mark = Mark(&raw const TARGET);
static TARGET: u8 = 0;
struct Mark(*const u8);
// SAFETY: never written, and what it points to is a constant.
unsafe impl Sync for Mark {}

/// True once this library is relocated. Before that, nothing may be used that is reached through a pointer in static memory, the C
/// library's functions included.
pub(crate) fn relocated() -> bool {
    // SAFETY: a static; volatile, because the compiler knows what it will be and not when.
    unsafe { (&raw const MARK.0).read_volatile() == &raw const TARGET }
}

/// True if `address` lies in this library.
fn holds(address: usize) -> bool {
    let start = &raw const __ehdr_start;
    let header = |index: usize| {
        // SAFETY: the program headers follow the header that says where; both are in the first, readable segment.
        unsafe { start.cast::<u8>().add((*start).e_phoff as usize).cast::<libc::Elf64_Phdr>().add(index).read() }
    };
    // SAFETY: the image's header.
    let count = unsafe { (*start).e_phnum as usize };
    let loaded = (0..count).map(header).filter(|header| header.p_type == libc::PT_LOAD);
    let end = loaded.map(|header| (header.p_vaddr + header.p_memsz) as usize).max().unwrap_or(0);
    address.wrapping_sub(start.addr()) < end
}

/// Whether a symbol that this library exports means this library's, or that of somebody who comes before it. Found out once.
pub(crate) struct Binding(AtomicU8);

const UNKNOWN: u8 = 0;
const OURS: u8 = 1;
const THEIRS: u8 = 2;

impl Binding {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(UNKNOWN))
    }

    /// True if it has been found out that this library's is meant.
    #[inline(always)]
    pub(crate) fn is_known_ours(&self) -> bool {
        // Relaxed: whoever finds it out finds the same.
        self.0.load(Ordering::Relaxed) == OURS
    }

    /// True if this library's is meant. `resolved` is what the dynamic linker bound the symbol to.
    #[inline(always)]
    pub(crate) fn is_ours(&self, resolved: impl FnOnce() -> usize) -> bool {
        self.is_known_ours() || self.find_out(resolved)
    }

    #[cold]
    #[inline(never)]
    fn find_out(&self, resolved: impl FnOnce() -> usize) -> bool {
        if self.0.load(Ordering::Relaxed) == UNKNOWN {
            self.0.store(if holds(resolved()) { OURS } else { THEIRS }, Ordering::Relaxed);
        }
        self.0.load(Ordering::Relaxed) == OURS
    }
}

/// What the dynamic linker bound an exported function to: this library's own, unless somebody comes before it.
macro_rules! resolved {
    ($function:path) => {{
        let address: usize;
        // SAFETY: reads this library's global offset table.
        unsafe {
            core::arch::asm!("mov {}, [rip + {}@GOTPCREL]", out(reg) address, sym $function, options(nostack, readonly, preserves_flags));
        }
        address
    }};
}
pub(crate) use resolved;

/// True if the program's `malloc` is this library's, and not that of one that it has loaded besides.
pub(crate) fn serves_the_program() -> bool {
    static MALLOC: Binding = Binding::new();
    MALLOC.is_ours(|| resolved!(crate::c::malloc))
}

/// Keeps this library from being unloaded once it is in use: threads may be inside its restartable sequences, and its memory is
/// everywhere. If the program's `malloc` is this one it cannot be unloaded anyway, and nothing needs to be done.
pub(crate) fn pin() {
    if serves_the_program() {
        return;
    }
    let mut info =
        libc::Dl_info { dli_fname: null(), dli_fbase: core::ptr::null_mut(), dli_sname: null(), dli_saddr: core::ptr::null_mut() };
    // SAFETY: an address inside this library; the name it returns lives as long as the library.
    unsafe {
        if libc::dladdr((&raw const TARGET).cast(), &raw mut info) != 0 && !info.dli_fname.is_null() {
            libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
        }
    }
}
