//! What a program needs of Linux without a C library: to begin, to say something, to end. And a critical section, of a program with one
//! thread that no interrupt reaches.

use core::arch::{asm, global_asm};

global_asm!(".globl _start", "_start:", "and rsp, -16", "call {start}", start = sym start);

extern "C" fn start() -> ! {
    if crate::main() {
        system_call(1, 1, b"ok\n".as_ptr().addr(), 3);
        system_call(60, 0, 0, 0);
    }
    system_call(60, 1, 0, 0);
    #[allow(clippy::empty_loop)]
    loop {}
}

fn system_call(number: usize, first: usize, second: usize, third: usize) {
    // SAFETY: `write` of what can be read, and `exit`.
    unsafe {
        asm!("syscall", inlateout("rax") number => _, in("rdi") first, in("rsi") second, in("rdx") third, out("rcx") _, out("r11") _);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    system_call(60, 2, 0, 0);
    #[allow(clippy::empty_loop)]
    loop {}
}

struct Alone;
critical_section::set_impl!(Alone);

// SAFETY: there is nobody else.
unsafe impl critical_section::Impl for Alone {
    unsafe fn acquire() {}
    unsafe fn release(_: ()) {}
}

macro_rules! memory_functions {
    ($($name:ident($to:ident, $from:ident: $type:ty, $len:ident) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($to: *mut u8, $from: $type, $len: usize) -> *mut u8 {
            $body
            $to
        }
    )*};
}

memory_functions! {
    memcpy(to, from: *const u8, len) {
        // SAFETY: the C contract.
        unsafe { asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _) };
    }
    memmove(to, from: *const u8, len) {
        // SAFETY: the C contract.
        unsafe {
            if to.addr().wrapping_sub(from.addr()) >= len {
                asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _);
            } else {
                let (to, from) = (to.wrapping_add(len).wrapping_sub(1), from.wrapping_add(len).wrapping_sub(1));
                asm!("std", "rep movsb", "cld", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _);
            }
        };
    }
    memset(to, value: i32, len) {
        // SAFETY: the C contract.
        unsafe { asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") value as u8) };
    }
}
