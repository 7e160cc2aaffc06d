//! Finding the restartable-sequence area that glibc (2.35 or newer) registered for every thread.
//!
//! The symbols `__rseq_offset` and `__rseq_size` are looked up by hand in the dynamic linker's own symbol table. A strong reference
//! would keep programs from starting on an older glibc, a weak one may still ask for its version, and `dlsym` may call `malloc`
//! while the first `malloc` is what got us here.

use super::{Area, membarrier};
use core::arch::asm;
use core::ffi::CStr;

const AT_BASE: u64 = 7;
const AT_RSEQ_FEATURE_SIZE: u64 = 27;
/// Offsets in `struct rseq`.
const CPU_ID: usize = 4;
const RSEQ_CS: usize = 8;
const MM_CID: usize = 24;
/// Feature size from which `mm_cid` is there.
const WITH_MM_CID: usize = 28;

/// The area, if this thread has one, the kernel honours it, and other threads' sequences can be interrupted.
pub(in super::super) fn detect() -> Option<Area> {
    // SAFETY: reads the auxiliary vector.
    let base = unsafe { libc::getauxval(AT_BASE) } as usize;
    if base == 0 {
        return None;
    }
    // SAFETY: AT_BASE is where the kernel mapped the dynamic linker's ELF file.
    let (offset, size) = unsafe {
        let linker = Elf::at(base)?;
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

/// A loaded ELF object.
struct Elf {
    base: usize,
    symbols: *const libc::Elf64_Sym,
    strings: *const u8,
    hash: *const u32,
}

impl Elf {
    /// # Safety
    /// An ELF file of this machine's class is mapped at `base`.
    unsafe fn at(base: usize) -> Option<Self> {
        const DT_STRTAB: u64 = 5;
        const DT_SYMTAB: u64 = 6;
        const DT_GNU_HASH: u64 = 0x6fff_fef5;
        let header = core::ptr::with_exposed_provenance::<libc::Elf64_Ehdr>(base);
        let mut elf = Self { base, symbols: core::ptr::null(), strings: core::ptr::null(), hash: core::ptr::null() };
        // SAFETY: header, program headers and dynamic section of a loaded ELF object are readable.
        unsafe {
            let headers = core::ptr::with_exposed_provenance::<libc::Elf64_Phdr>(base + (*header).e_phoff as usize);
            let dynamic = (0..(*header).e_phnum as usize)
                .map(|index| &*headers.add(index))
                .find(|header| header.p_type == libc::PT_DYNAMIC)?;
            let mut entry = core::ptr::with_exposed_provenance::<[u64; 2]>(base + dynamic.p_vaddr as usize);
            while (*entry)[0] != 0 {
                let [tag, value] = *entry;
                match tag {
                    DT_STRTAB => elf.strings = elf.pointer(value),
                    DT_SYMTAB => elf.symbols = elf.pointer(value),
                    DT_GNU_HASH => elf.hash = elf.pointer(value),
                    _ => {}
                }
                entry = entry.add(1);
            }
        }
        let complete = !elf.symbols.is_null() && !elf.strings.is_null() && !elf.hash.is_null();
        complete.then_some(elf)
    }

    /// The dynamic linker may or may not have relocated its own dynamic section.
    fn pointer<T>(&self, value: u64) -> *const T {
        let value = value as usize;
        core::ptr::with_exposed_provenance(if value < self.base { self.base + value } else { value })
    }

    /// Address of the symbol `name`, by the GNU hash table.
    ///
    /// # Safety
    /// The object is loaded.
    unsafe fn symbol(&self, name: &CStr) -> Option<*const u8> {
        let hash = name.to_bytes().iter().fold(5381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)));
        // SAFETY: the table's layout is fixed: bucket count, first symbol, words of the bloom filter, shift, filter, buckets, chains.
        unsafe {
            let (buckets, first, bloom) = (*self.hash, *self.hash.add(1), *self.hash.add(2));
            if buckets == 0 {
                return None;
            }
            let table = self.hash.add(4 + bloom as usize * 2);
            let mut index = *table.add((hash % buckets) as usize);
            while index >= first {
                let entry = *table.add(buckets as usize + (index - first) as usize);
                let symbol = &*self.symbols.add(index as usize);
                let found = CStr::from_ptr(self.strings.add(symbol.st_name as usize).cast());
                if (entry ^ hash) < 2 && found == name {
                    return Some(self.pointer_at(symbol.st_value));
                }
                if entry & 1 != 0 {
                    return None;
                }
                index += 1;
            }
        }
        None
    }

    fn pointer_at(&self, value: u64) -> *const u8 {
        core::ptr::with_exposed_provenance(self.base + value as usize)
    }
}
