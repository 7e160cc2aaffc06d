//! The environment on the first stack: the number of arguments, the arguments, a null, the variables, a null.

use crate::elf::Elf;
use core::ffi::{CStr, c_char};

unsafe extern "C" {
    /// The C library's. Null until it has been initialised, which libraries that it needs, and the dynamic linker, come before.
    static environ: *const *const c_char;
}

/// The value of `name`, if the C library has no environment yet.
pub(super) fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: a word of the C library's, which only whoever changes the environment writes.
    if !unsafe { environ }.is_null() {
        return None;
    }
    // SAFETY: the linker's symbol is the address of the number of arguments; the stack stays. What the program does to the list, as `main`
    // gets it, leaves it a list of C strings that ends with a null.
    unsafe {
        let start = Elf::linker()?.symbol(c"__libc_stack_end")?.cast::<*const usize>().read();
        if start.is_null() {
            return None;
        }
        let arguments = start.add(1).cast::<*const c_char>();
        let end = arguments.add(start.read());
        if !end.read().is_null() {
            return None;
        }
        find(end.add(1), name.to_bytes())
    }
}

/// # Safety
/// `list` is one of C strings that live as long as the process, and ends with a null.
unsafe fn find(mut list: *const *const c_char, name: &[u8]) -> Option<&'static CStr> {
    // SAFETY: the caller's.
    unsafe {
        while !(*list).is_null() {
            let entry = CStr::from_ptr(*list);
            if entry.to_bytes().strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'=')) {
                return Some(CStr::from_ptr((*list).add(name.len() + 1)));
            }
            list = list.add(1);
        }
    }
    None
}
