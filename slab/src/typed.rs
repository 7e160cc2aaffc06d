//! The typed, safe face: caches of `T`s.

use crate::cache::{Flags, Front, RawCache, Spec};
use crate::registry::{Busy, CreateError};
use crate::slab::Slab;
use crate::system::system;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kmem_base::typed::{self, AllocError, Constructed, Home, Kind, Plain, construct, destructor};

/// A cache of `T`s that are constructed once and used many times: whoever returns one leaves it as the next user wants to find it. That is
/// Bonwick's point; locks, buffers and tables inside an object are set up once per slab instead of once per use.
///
/// ```
/// let buffers = kmem_slab::Cache::builder("buffer").constructed(|| Vec::<u8>::with_capacity(4096))?;
/// let mut buffer = buffers.alloc()?;
/// buffer.extend_from_slice(b"hello");
/// buffer.clear(); // left as the constructor made it: empty, with its memory
/// drop(buffer);
/// assert_eq!(buffers.alloc()?.capacity(), 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Without a constructor, it is a pool of boxes of one size:
///
/// ```
/// let points = kmem_slab::Cache::builder("point").plain()?;
/// let point = points.insert((1.0_f64, 2.0_f64))?;
/// assert_eq!(point.1, 2.0);
/// # drop(point);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A cache is one of exactly `T`s: an object that was left as a value of a supertype would be found by somebody who expects a `T`.
///
/// ```compile_fail
/// type Any = for<'a> fn(&'a str);
/// fn narrowed(cache: &kmem_slab::Cache<Any>) -> &kmem_slab::Cache<fn(&'static str)> {
///     cache
/// }
/// ```
pub struct Cache<T, K: Kind = Constructed> {
    slab: &'static Slab,
    raw: &'static RawCache,
    /// Invariant in `T`: what one user leaves in an object, another finds there.
    values: PhantomData<fn(T) -> T>,
    kind: PhantomData<K>,
}

// SAFETY: objects made by one thread are handed to others, hence `T: Send`; the cache itself is synchronised.
unsafe impl<T: Send, K: Kind> Sync for Cache<T, K> {}
// SAFETY: as above.
unsafe impl<T: Send, K: Kind> Send for Cache<T, K> {}

/// What a cache is to be.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Builder<'a> {
    slab: &'static Slab,
    name: &'a str,
    flags: Flags,
    front: Option<Front>,
    align: usize,
}

impl<'a> Builder<'a> {
    /// With these properties.
    pub const fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// With this front end, whatever the knob `front` says.
    pub const fn front(mut self, front: Front) -> Self {
        self.front = Some(front);
        self
    }

    /// With objects aligned to at least `align`, a power of two.
    pub const fn align(mut self, align: usize) -> Self {
        self.align = align;
        self
    }

    /// In another allocator than the process's.
    pub const fn within(mut self, slab: &'static Slab) -> Self {
        self.slab = slab;
        self
    }

    /// A cache whose objects `constructor` makes, once each. They are dropped, by whichever thread it is that does so, when their slab goes:
    /// when the cache shrinks or is dropped, [`Slab::reap_tick`] is called, or an object comes back and its slab is one too many. Never
    /// inside another allocation.
    ///
    /// # Errors
    /// See [`CreateError`].
    #[doc(alias = "kmem_cache_create")]
    pub fn constructed<T: Send + 'static>(self, constructor: fn() -> T) -> Result<Cache<T>, CreateError> {
        // SAFETY: a function pointer outlives everything, and any thread may make or drop a `T`.
        let spec = unsafe { self.spec::<T>().constructed(Some(construct::<T>), destructor::<T>(), constructor as *mut ()) };
        Ok(Cache { slab: self.slab, raw: self.slab.create(&spec)?, values: PhantomData, kind: PhantomData })
    }

    /// A cache of values.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn plain<T>(self) -> Result<Cache<T, Plain>, CreateError> {
        Ok(Cache { slab: self.slab, raw: self.slab.create(&self.spec::<T>())?, values: PhantomData, kind: PhantomData })
    }

    const fn spec<T>(self) -> Spec<'a> {
        let align = if self.align > align_of::<T>() { self.align } else { align_of::<T>() };
        Spec { front: self.front, ..Spec::new(self.name, size_of::<T>(), align).with(self.flags) }
    }
}

impl Cache<()> {
    /// Begins a cache: finish with [`Builder::constructed`] or [`Builder::plain`].
    pub fn builder(name: &str) -> Builder<'_> {
        Builder { slab: system(), name, flags: Flags::NONE, front: None, align: 1 }
    }
}

impl<T: Send + 'static> Cache<T> {
    /// An object as its constructor made it, or as its last user left it.
    ///
    /// # Errors
    /// If there is no memory.
    #[inline]
    #[track_caller]
    #[doc(alias = "kmem_cache_alloc")]
    pub fn alloc(&self) -> Result<Object<'_, T>, AllocError> {
        let at = NonNull::new(self.slab.alloc_object(self.raw).cast()).ok_or(AllocError)?;
        // SAFETY: constructed with its slab, and handed out to us alone.
        Ok(unsafe { Object::new(at, self) })
    }
}

impl<T> Cache<T, Plain> {
    /// Moves `value` into the cache.
    ///
    /// # Errors
    /// If there is no memory; the value is dropped.
    #[inline]
    #[track_caller]
    pub fn insert(&self, value: T) -> Result<Object<'_, T, Plain>, AllocError> {
        let at = NonNull::new(self.slab.alloc_object(self.raw).cast::<T>()).ok_or(AllocError)?;
        // SAFETY: memory of the right size and alignment that is ours, initialised here.
        Ok(unsafe {
            at.write(value);
            Object::new(at, self)
        })
    }
}

/// A cache that could not be destroyed, and why.
pub struct Destroyed<T, K: Kind> {
    /// The cache, as it was.
    pub cache: Cache<T, K>,
    /// What is in use.
    pub busy: Busy,
}

impl<T, K: Kind> fmt::Debug for Destroyed<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.busy.fmt(f)
    }
}

impl<T, K: Kind> Cache<T, K> {
    /// The untyped cache: its geometry, counters and tunables.
    #[must_use]
    pub const fn raw(&self) -> &'static RawCache {
        self.raw
    }

    /// Gives up what the cache holds without need. Returns pages released.
    #[doc(alias = "kmem_cache_shrink")]
    pub fn shrink(&self) -> usize {
        self.slab.shrink(self.raw)
    }

    /// Destroys the cache. Dropping it does the same, but says nothing if it has to stay.
    ///
    /// # Errors
    /// The cache and what is in use: objects that were forgotten, since others borrow the cache.
    #[doc(alias = "kmem_cache_destroy")]
    pub fn destroy(self) -> Result<(), Destroyed<T, K>> {
        let cache = ManuallyDrop::new(self);
        // SAFETY: the cache is this value's alone, and objects that are not forgotten borrow it.
        match unsafe { cache.slab.destroy(cache.raw) } {
            Ok(()) => Ok(()),
            Err(busy) => Err(Destroyed { cache: ManuallyDrop::into_inner(cache), busy }),
        }
    }
}

impl<T, K: Kind> Drop for Cache<T, K> {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`. A cache with forgotten objects stays.
        let _forgotten = unsafe { self.slab.destroy(self.raw) };
    }
}

impl<T, K: Kind> fmt::Debug for Cache<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("name", &self.raw.name()).field("size", &self.raw.object_size()).finish_non_exhaustive()
    }
}

/// An object of a [`Cache`], which it goes back to when dropped.
pub type Object<'a, T, K = Constructed> = typed::Object<'a, T, Cache<T, K>, K>;

impl<T, K: Kind> Home for Cache<T, K> {
    #[inline(always)]
    unsafe fn take_back(&self, object: NonNull<u8>) {
        // SAFETY: the caller's.
        unsafe { self.slab.free_object(self.raw, object.as_ptr()) };
    }
}
