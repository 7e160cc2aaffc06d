//! `libkmem.so`: kmem behind the interface of the C library's allocator and of C++'s operators new and delete.
//!
//! ```text
//! c.rs       malloc, calloc, realloc, free and their aligned kin         glibc.rs   what else glibc has: trim, stats, info, mallopt
//! cxx.rs     operators new and delete                                    native.rs  kmem.h: caches, sized and bulk calls, control
//!    \          |          /                                            limits.rs  setrlimit, mlockall: reservations go first
//!     \         |         /                                             opening.rs dlopen: nobody is bound past this library
//!     heap.rs: sizes, alignments, errno                                  early.rs   calls that come before this library is relocated
//!         |                                                              image.rs   where this library lies, who is bound to it
//!     kmem_global::Kmem
//! ```
//!
//! The only crate of the family that exports C symbols. See the README for what is promised.
//!
//! Without unwinding, which is how it is shipped, nothing of the standard library is linked: it would cost several hundred kilobytes
//! for printing panics that cannot happen.
#![cfg_attr(panic = "abort", no_std)]
// What is exported is exported by name, and seen by no other crate.
#![allow(unreachable_pub)]

mod c;
mod cxx;
mod early;
mod glibc;
mod heap;
mod image;
mod limits;
mod native;
#[cfg(target_arch = "x86_64")]
mod opening;
#[cfg(panic = "abort")]
mod panicking;
mod summary;
mod text;
