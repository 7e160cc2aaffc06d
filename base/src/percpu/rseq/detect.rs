//! Finding the restartable-sequence area that glibc (2.35 or newer) registered for every thread.
//!
//! The symbols `__rseq_offset` and `__rseq_size` are looked up by hand in the dynamic linker's own symbol table: see [`crate::elf`].

use super::{Area, membarrier};
use crate::elf::Elf;
use core::arch::asm;

const AT_RSEQ_FEATURE_SIZE: u64 = 27;
/// Offsets in `struct rseq`.
const CPU_ID: usize = 4;
const RSEQ_CS: usize = 8;
const MM_CID: usize = 24;
/// Feature size from which `mm_cid` is there.
const WITH_MM_CID: usize = 28;

/// The area, if this thread has one, the kernel honours it, and other threads' sequences can be interrupted.
pub(in super::super) fn detect() -> Option<Area> {
    let linker = Elf::linker()?;
    // SAFETY: those symbols are such numbers, written before any other code runs.
    let (offset, size) = unsafe {
        let size = linker.symbol(c"__rseq_size")?.cast::<u32>().read();
        (linker.symbol(c"__rseq_offset")?.cast::<isize>().read(), size as usize)
    };
    if size == 0 || (thread_word(offset.wrapping_add(CPU_ID as isize)) as i32) < 0 || !membarrier::register() {
        return None;
    }
    let id = if active_size(size) >= WITH_MM_CID { MM_CID } else { CPU_ID };
    let at = |field: usize| offset.wrapping_add(field as isize) as usize;
    Some(Area { cs: at(RSEQ_CS), id: at(id) })
}

/// Bytes of the area that the kernel fills in. glibc before 2.41 says 20 or 32 whatever the kernel does, and registers 32.
fn active_size(size: usize) -> usize {
    // SAFETY: reads the auxiliary vector.
    let kernel = unsafe { libc::getauxval(AT_RSEQ_FEATURE_SIZE) } as usize;
    let kernel = if kernel == 0 { 20 } else { kernel };
    if size == 20 || size == 32 { kernel.min(32) } else { size.min(kernel) }
}

fn thread_word(offset: isize) -> u32 {
    let word: u32;
    // SAFETY: glibc says that its area is there in every thread.
    unsafe { asm!("mov {0:e}, fs:[{1}]", out(reg) word, in(reg) offset, options(nostack, readonly, preserves_flags)) };
    word
}
