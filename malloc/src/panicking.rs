//! What to do on a panic: nothing here panics, so the allocator is broken.

use kmem_base::fault::warn;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    warn("panicked", "");
    // SAFETY: never returns, runs no destructors.
    unsafe { libc::abort() }
}

// What the unwinder asks about a frame of this library's, through which a C++ exception passes: go on, there is nothing to do here
// (`_URC_CONTINUE_UNWIND`). Hidden, because a Rust program's own must not be replaced.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    ".type rust_eh_personality, @function",
    "rust_eh_personality:",
    "mov eax, 8",
    "ret",
);
