//! A global allocator that is one of several, chosen before the first allocation and never changed.

use std::ffi::CStr;

/// Environment variable that names the allocator of a child.
pub const VARIABLE: &CStr = c"KMEM_BENCH_ALLOC";

/// The value of [`VARIABLE`]. Called inside the first allocation, so it may not allocate itself.
pub fn requested() -> Option<&'static CStr> {
    // SAFETY: a NUL-terminated name; nothing modifies the environment while the first allocation is under way.
    let value = unsafe { libc::getenv(VARIABLE.as_ptr()) };
    // SAFETY: not null, so getenv's result is a NUL-terminated string, which this program leaves where it is.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

/// Ends a process that asks for an allocator which is not there. Neither a panic nor a format could do without one.
pub fn refuse() -> ! {
    const LINE: &[u8] = b"kmem-bench: KMEM_BENCH_ALLOC names no allocator of this build\n";
    // SAFETY: LINE is valid for its length; _exit takes any status.
    unsafe {
        libc::write(libc::STDERR_FILENO, LINE.as_ptr().cast(), LINE.len());
        libc::_exit(2)
    }
}

/// Defines `Switch`, a global allocator that forwards to one of the listed ones.
///
/// Each line has an identifier, the name that the environment gives, the allocator and, if its documentation wants
/// something done before the first use, a function that does it. The first line is the default. Every contestant pays
/// the same load and jump in front of each call, and is inlined behind it as far as it can be.
#[macro_export]
macro_rules! switch {
    ($($(#[$when:meta])* $id:ident = $name:literal => $allocator:expr $(, $start:path)?;)+) => {
        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Chosen { $($(#[$when])* $id,)+ }

        /// Forwards each call to the chosen allocator.
        struct Switch;

        impl Switch {
            #[inline]
            fn chosen() -> Chosen {
                match CHOSEN.load(::std::sync::atomic::Ordering::Relaxed) {
                    $($(#[$when])* id if id == Chosen::$id as u8 => Chosen::$id,)+
                    _ => Self::choose(),
                }
            }

            /// Runs inside the first allocation, before there is a second thread.
            #[cold]
            #[inline(never)]
            fn choose() -> Chosen {
                let all = [$($(#[$when])* ($name, Chosen::$id),)+];
                let chosen = match $crate::switch::requested() {
                    None => all[0].1,
                    Some(name) => match all.iter().find(|(known, _)| *known == name) {
                        Some((_, chosen)) => *chosen,
                        None => $crate::switch::refuse(),
                    },
                };
                match chosen {
                    $($(#[$when])* Chosen::$id => { $($start())? })+
                }
                CHOSEN.store(chosen as u8, ::std::sync::atomic::Ordering::Relaxed);
                chosen
            }
        }

        /// Above all identifiers: not chosen yet.
        static CHOSEN: ::std::sync::atomic::AtomicU8 = ::std::sync::atomic::AtomicU8::new(u8::MAX);

        // SAFETY: the choice never changes, so all calls for a block reach the one allocator that it came from, and
        // each is passed on unchanged.
        unsafe impl ::std::alloc::GlobalAlloc for Switch {
            #[inline]
            unsafe fn alloc(&self, layout: ::std::alloc::Layout) -> *mut u8 {
                $crate::count::operation();
                match Self::chosen() {
                    // SAFETY: the caller's promises, passed on.
                    $($(#[$when])* Chosen::$id => unsafe { ::std::alloc::GlobalAlloc::alloc(&$allocator, layout) },)+
                }
            }

            #[inline]
            unsafe fn alloc_zeroed(&self, layout: ::std::alloc::Layout) -> *mut u8 {
                $crate::count::operation();
                match Self::chosen() {
                    // SAFETY: the caller's promises, passed on.
                    $($(#[$when])* Chosen::$id => unsafe { ::std::alloc::GlobalAlloc::alloc_zeroed(&$allocator, layout) },)+
                }
            }

            #[inline]
            unsafe fn dealloc(&self, ptr: *mut u8, layout: ::std::alloc::Layout) {
                $crate::count::operation();
                match Self::chosen() {
                    // SAFETY: the caller's promises, passed on.
                    $($(#[$when])* Chosen::$id => unsafe { ::std::alloc::GlobalAlloc::dealloc(&$allocator, ptr, layout) },)+
                }
            }

            #[inline]
            unsafe fn realloc(&self, ptr: *mut u8, layout: ::std::alloc::Layout, size: usize) -> *mut u8 {
                $crate::count::operation();
                match Self::chosen() {
                    // SAFETY: the caller's promises, passed on.
                    $($(#[$when])* Chosen::$id => unsafe { ::std::alloc::GlobalAlloc::realloc(&$allocator, ptr, layout, size) },)+
                }
            }
        }
    };
}
