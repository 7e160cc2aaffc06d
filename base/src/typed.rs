//! What the typed faces of caches have in common: how objects begin and end, and what holds one meanwhile.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

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

/// Makes an object in memory that holds none; once per object, when its slab is made.
///
/// It may unwind: the objects made before are then destroyed and the allocation fails by unwinding.
pub type Constructor = unsafe fn(object: *mut u8, context: *mut ());
/// Destroys an object; once per object, when its slab goes.
pub type Destructor = unsafe fn(object: *mut u8, context: *mut ());

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
pub fn destructor<T>() -> Option<Destructor> {
    if core::mem::needs_drop::<T>() { Some(destruct::<T>) } else { None }
}

/// A typed cache, as its objects know it.
pub trait Home {
    /// Takes an object's memory back.
    ///
    /// # Safety
    /// `object` is one of this cache that nobody uses again: still initialised if the cache constructs its objects, dropped otherwise.
    unsafe fn take_back(&self, object: NonNull<u8>);
}

/// An object of a cache, which it goes back to when dropped.
pub struct Object<'a, T, H: Home, K: Kind = Constructed> {
    at: NonNull<T>,
    home: &'a H,
    /// Invariant in `T`: what is left in a constructed object, the cache's next user finds there.
    values: PhantomData<fn(T) -> T>,
    kind: PhantomData<K>,
}

// SAFETY: owns its `T`; the cache may be reached from any thread.
unsafe impl<T: Send, H: Home + Sync, K: Kind> Send for Object<'_, T, H, K> {}
// SAFETY: gives out `&T` alone.
unsafe impl<T: Sync, H: Home, K: Kind> Sync for Object<'_, T, H, K> {}

impl<'a, T, H: Home, K: Kind> Object<'a, T, H, K> {
    /// Owns the object at `at`.
    ///
    /// # Safety
    /// It is an initialised `T` of `home`, and nobody else's.
    #[inline(always)]
    pub unsafe fn new(at: NonNull<T>, home: &'a H) -> Self {
        Self { at, home, values: PhantomData, kind: PhantomData }
    }
}

impl<T, H: Home, K: Kind> Deref for Object<'_, T, H, K> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: an initialised object that is ours until dropped.
        unsafe { self.at.as_ref() }
    }
}

impl<T, H: Home, K: Kind> DerefMut for Object<'_, T, H, K> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and borrowed mutably.
        unsafe { self.at.as_mut() }
    }
}

impl<T, H: Home, K: Kind> Drop for Object<'_, T, H, K> {
    #[inline]
    fn drop(&mut self) {
        let _memory = Memory { at: self.at.cast(), home: self.home };
        if K::DROPS {
            // SAFETY: nobody uses the value again.
            unsafe { self.at.drop_in_place() };
        }
    }
}

impl<T: fmt::Debug, H: Home, K: Kind> fmt::Debug for Object<'_, T, H, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

/// An object's memory, which goes back also if dropping the value unwinds.
struct Memory<'a, H: Home> {
    at: NonNull<u8>,
    home: &'a H,
}

impl<H: Home> Drop for Memory<'_, H> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: nobody uses the object again; a constructed one stays initialised, a plain one has been dropped.
        unsafe { self.home.take_back(self.at) };
    }
}
