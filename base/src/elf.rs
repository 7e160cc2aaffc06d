//! Symbols of a loaded ELF object, looked up by hand: what the dynamic linker says of the process.
//!
//! A strong reference would keep programs from starting on an older glibc, a weak one may still ask for its version, and `dlsym` may
//! call `malloc` while the first `malloc` is what got us here.

use core::ffi::CStr;

/// A loaded ELF object.
pub(crate) struct Elf {
    base: usize,
    symbols: *const libc::Elf64_Sym,
    strings: *const u8,
    hash: *const u32,
}

impl Elf {
    /// The dynamic linker, if there is one.
    pub(crate) fn linker() -> Option<Self> {
        const AT_BASE: u64 = 7;
        // SAFETY: reads the auxiliary vector.
        let base = unsafe { libc::getauxval(AT_BASE) } as usize;
        // SAFETY: AT_BASE is where the kernel mapped the dynamic linker's ELF file, for as long as the process runs.
        if base == 0 { None } else { unsafe { Self::at(base) } }
    }

    /// # Safety
    /// An ELF file of this machine's class is mapped at `base`, and stays.
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
    pub(crate) fn symbol(&self, name: &CStr) -> Option<*const u8> {
        let hash = name.to_bytes().iter().fold(5381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)));
        // SAFETY: the object stays loaded, and the table's layout is fixed: bucket count, first symbol, words of the bloom filter, shift, filter, buckets, chains.
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
