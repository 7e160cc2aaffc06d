//! Typed object caches: the safe face of `kmem_cache_create`.

use crate::backend::Slubq;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kmem_base::typed::{self, AllocError, Constructed, Home, Kind, Plain, construct, destructor};
use kmem_slubq::{CreateError, Flags, Spec};

/// A cache of `T`s.
///
/// With a constructor, an object is made once and used many times: whoever returns one leaves it as the next user wants to find it.
/// That is Bonwick's point; locks, buffers and tables inside an object are set up once per slab instead of once per use.
///
/// ```
/// let buffers = kmem::Cache::new("buffer", || Vec::<u8>::with_capacity(4096))?;
/// let mut buffer = buffers.alloc()?;
/// buffer.extend_from_slice(b"hello");
/// buffer.clear(); // left as the constructor made it: empty, with its memory
/// # drop(buffer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Without one, it is a pool of boxes of one size:
///
/// ```
/// let points = kmem::Cache::plain("point")?;
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
/// fn narrowed(cache: &kmem::Cache<Any>) -> &kmem::Cache<fn(&'static str)> {
///     cache
/// }
/// ```
pub struct Cache<T, K: Kind = Constructed> {
    raw: &'static kmem_slubq::Cache,
    /// Invariant in `T`: what one user leaves in an object, another finds there.
    values: PhantomData<fn(T) -> T>,
    kind: PhantomData<K>,
}

// SAFETY: objects made by one thread are handed to others, hence `T: Send`; the cache itself is synchronised.
unsafe impl<T: Send, K: Kind> Sync for Cache<T, K> {}
// SAFETY: as above.
unsafe impl<T: Send, K: Kind> Send for Cache<T, K> {}

impl<T: Send + 'static> Cache<T> {
    /// A cache whose objects `constructor` makes. They are dropped, by whichever thread it is that does so, when their slab goes: when
    /// the cache shrinks or is dropped, [`trim`](crate::trim) is called, or an object comes back and its slab is one too many. Never inside
    /// another allocation.
    ///
    /// # Errors
    /// If `T` is too large (256 KiB) or too strictly aligned, there are too many caches, or no memory.
    #[doc(alias = "kmem_cache_create")]
    pub fn new(name: &str, constructor: fn() -> T) -> Result<Self, CreateError> {
        let spec = Spec::new(name, size_of::<T>(), align_of::<T>());
        // SAFETY: a function pointer outlives everything, and any thread may make or drop a `T`.
        Self::create(&unsafe { spec.constructed(Some(construct::<T>), destructor::<T>(), constructor as *mut ()) })
    }

    /// An object as its constructor made it, or as its last user left it.
    ///
    /// # Errors
    /// If there is no memory.
    #[inline]
    #[doc(alias = "kmem_cache_alloc")]
    pub fn alloc(&self) -> Result<Object<'_, T>, AllocError> {
        let at = NonNull::new(Slubq::get().alloc_object(self.raw).cast()).ok_or(AllocError)?;
        // SAFETY: constructed with its slab, and handed out to us alone.
        Ok(unsafe { Object::new(at, self) })
    }
}

impl<T> Cache<T, Plain> {
    /// A cache of values. It shares slabs with general caches of the same size; [`Self::alone`] does not.
    ///
    /// # Errors
    /// As [`Cache::new`].
    pub fn plain(name: &str) -> Result<Self, CreateError> {
        Self::create(&Spec::new(name, size_of::<T>(), align_of::<T>()))
    }

    /// A cache of values with properties, such as slabs of its own.
    ///
    /// # Errors
    /// As [`Cache::new`].
    pub fn alone(name: &str, flags: Flags) -> Result<Self, CreateError> {
        Self::create(&Spec::new(name, size_of::<T>(), align_of::<T>()).with(flags | Flags::NO_MERGE))
    }

    /// Moves `value` into the cache.
    ///
    /// # Errors
    /// If there is no memory; the value is dropped.
    #[inline]
    pub fn insert(&self, value: T) -> Result<Object<'_, T, Plain>, AllocError> {
        let at = NonNull::new(Slubq::get().alloc_object(self.raw).cast::<T>()).ok_or(AllocError)?;
        // SAFETY: memory of the right size and alignment that is ours, initialised here.
        Ok(unsafe {
            at.write(value);
            Object::new(at, self)
        })
    }
}

impl<T, K: Kind> Cache<T, K> {
    fn create(spec: &Spec<'_>) -> Result<Self, CreateError> {
        let raw = Slubq::get().create(spec)?;
        crate::fork::watch::<Slubq>();
        Ok(Self { raw, values: PhantomData, kind: PhantomData })
    }

    /// The untyped cache: its tunables and counters.
    #[must_use]
    pub const fn raw(&self) -> &'static kmem_slubq::Cache {
        self.raw
    }

    /// Gives up what the cache holds without need. Returns pages released.
    #[doc(alias = "kmem_cache_shrink")]
    pub fn shrink(&self) -> usize {
        Slubq::get().shrink(self.raw)
    }
}

impl<T, K: Kind> Drop for Cache<T, K> {
    fn drop(&mut self) {
        // Objects borrow the cache, so that none is in use, unless one was forgotten: then the cache has to stay.
        // SAFETY: this is the user that created it, and its last act.
        let _forgotten = unsafe { Slubq::get().destroy(self.raw) };
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
        unsafe { Slubq::get().free_object(self.raw, object.as_ptr()) };
    }
}
