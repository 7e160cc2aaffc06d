//! What the typed faces of caches have in common: how objects begin and end.

use core::fmt;

/// Objects are constructed once, when their slab is made, and keep their state from one use to the next.
#[derive(Debug)]
pub enum Constructed {}
/// Objects are values moved in at allocation and dropped at free.
#[derive(Debug)]
pub enum Plain {}

/// How objects of a cache begin and end.
pub trait Kind: sealed::Sealed {
    /// True if an object is dropped when it goes back to the cache.
    const DROPS: bool;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Constructed {}
    impl Sealed for super::Plain {}
}

impl Kind for Constructed {
    const DROPS: bool = false;
}
impl Kind for Plain {
    const DROPS: bool = true;
}

/// There is no memory for another object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError;

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for AllocError {}

/// A constructor of `T`s for an untyped cache.
///
/// # Safety
/// `object` is memory for a `T`, `context` the `fn() -> T` that the cache was created with.
pub unsafe fn construct<T>(object: *mut u8, context: *mut ()) {
    // SAFETY: the caller's.
    unsafe {
        let make = core::mem::transmute::<*mut (), fn() -> T>(context);
        object.cast::<T>().write(make());
    }
}

/// A destructor of `T`s for an untyped cache.
///
/// # Safety
/// `object` is a `T` that nobody uses again.
pub unsafe fn destruct<T>(object: *mut u8, _context: *mut ()) {
    // SAFETY: the caller's.
    unsafe { object.cast::<T>().drop_in_place() };
}

/// That destructor, if a `T` needs one.
#[must_use]
pub fn destructor<T>() -> Option<unsafe fn(object: *mut u8, context: *mut ())> {
    if core::mem::needs_drop::<T>() { Some(destruct::<T>) } else { None }
}
