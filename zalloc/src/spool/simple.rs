//! A stand-in with the final interface, for the layers above to be built on.

use super::{AllocError, Handle, HandleError, MAX_SIZE};
use core::ops::Deref;
use kmem_base::source::{OsSource, PageSource};
use kmem_base::sync::{Lock, Rank};
use std::sync::Arc;

/// Objects behind handles.
#[derive(Debug)]
pub struct Zspool<S: PageSource = OsSource> {
    source: S,
    limit: usize,
    objects: Lock<(u64, std::collections::HashMap<u64, Arc<[u8]>>), { Rank::Shard.of() }>,
}

/// How a pool is made.
#[derive(Clone, Copy, Debug)]
pub struct Builder<S: PageSource = OsSource> {
    source: S,
    limit: usize,
}

impl Zspool {
    /// An empty pool of the system's memory, without a limit. Takes no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A pool with other settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { source: OsSource, limit: usize::MAX }
    }
}

impl Default for Zspool {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: PageSource> Builder<S> {
    /// Most bytes of objects' memory that the pool may hold.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// Most shards (theory 3.8), rather than the number of CPUs.
    #[must_use]
    pub fn shards(self, _shards: usize) -> Self {
        self
    }

    /// Memory from another source.
    #[must_use]
    pub fn source<T: PageSource>(self, source: T) -> Builder<T> {
        Builder { source, limit: self.limit }
    }

    /// The pool.
    #[must_use]
    pub fn build(self) -> Zspool<S> {
        Zspool { source: self.source, limit: self.limit, objects: Lock::new((0, std::collections::HashMap::new())) }
    }
}

/// The bytes of an object, which stays where it is as long as this lives.
#[derive(Debug)]
pub struct ReadGuard<'a> {
    bytes: Arc<[u8]>,
    _pool: core::marker::PhantomData<&'a ()>,
}

impl Deref for ReadGuard<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// How much one call of [`Zspool::compact`] may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Most objects looked at.
    pub objects: usize,
}

impl Budget {
    /// Until nothing more can be done.
    pub const UNLIMITED: Self = Self { objects: usize::MAX };

    /// `objects` at most.
    #[must_use]
    pub const fn objects(objects: usize) -> Self {
        Self { objects }
    }
}

/// What a compaction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compaction {
    /// Objects moved.
    pub moved: usize,
    /// Their bytes.
    pub bytes_moved: usize,
    /// Objects left where they are since they were being read or written.
    pub pinned: usize,
    /// Bytes returned to the system.
    pub released: usize,
    /// Spans returned.
    pub spans: usize,
    /// True if the budget sufficed: there is nothing left to be done now.
    pub done: bool,
}

/// What a pool holds and has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Live objects.
    pub objects: usize,
    /// Bytes that they were asked for with.
    pub requested: usize,
    /// Bytes of memory behind spans.
    pub resident: usize,
    /// Bytes of memory behind handles, reverse indices and span descriptors.
    pub metadata: usize,
    /// Spans with a live object.
    pub spans: usize,
}

/// One size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Class {
    /// Largest object, in bytes.
    pub size: usize,
    /// OS pages of a span.
    pub pages: usize,
    /// Objects of a span.
    pub per_span: usize,
    /// Spans.
    pub spans: usize,
    /// Live objects.
    pub objects: usize,
}

impl<S: PageSource> Zspool<S> {
    /// Where the memory comes from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// A new object of `size` bytes, 1 to 4096, with any contents.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn alloc(&self, size: usize) -> Result<Handle, AllocError> {
        self.insert(&[0; MAX_SIZE][..size.min(MAX_SIZE)])
            .and_then(|handle| if size > MAX_SIZE { Err(AllocError::Size) } else { Ok(handle) })
    }

    /// A new object with these bytes.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn insert(&self, bytes: &[u8]) -> Result<Handle, AllocError> {
        if bytes.is_empty() || bytes.len() > MAX_SIZE {
            return Err(AllocError::Size);
        }
        let mut objects = self.objects.lock();
        if (objects.1.len() + 1) * MAX_SIZE > self.limit {
            return Err(AllocError::Limit);
        }
        objects.0 += 1;
        let name = objects.0;
        objects.1.insert(name, bytes.into());
        Handle::from_bits(name).ok_or(AllocError::Memory)
    }

    /// Writes `bytes` to the beginning of an object.
    ///
    /// # Errors
    /// [`HandleError`]; [`HandleError::Pinned`] while it is being read.
    pub fn write(&self, handle: Handle, bytes: &[u8]) -> Result<(), HandleError> {
        let mut objects = self.objects.lock();
        let object = objects.1.get_mut(&handle.to_bits()).ok_or(HandleError::Stale)?;
        let object = Arc::get_mut(object).ok_or(HandleError::Pinned)?;
        object.get_mut(..bytes.len()).ok_or(HandleError::TooLong)?.copy_from_slice(bytes);
        Ok(())
    }

    /// The bytes of an object, without a copy. It is not moved as long as the guard lives; freed, its memory is kept as long.
    ///
    /// # Errors
    /// [`HandleError::Stale`]; [`HandleError::Pinned`] if it has 126 guards already.
    pub fn read(&self, handle: Handle) -> Result<ReadGuard<'_>, HandleError> {
        let bytes = self.objects.lock().1.get(&handle.to_bits()).cloned().ok_or(HandleError::Stale)?;
        Ok(ReadGuard { bytes, _pool: core::marker::PhantomData })
    }

    /// Frees an object. If it is being read, its memory is kept until the last guard is dropped; the handle ends now.
    ///
    /// # Errors
    /// [`HandleError::Stale`].
    pub fn free(&self, handle: Handle) -> Result<(), HandleError> {
        self.objects.lock().1.remove(&handle.to_bits()).map(drop).ok_or(HandleError::Stale)
    }

    /// Bytes that an object was asked for with.
    ///
    /// # Errors
    /// [`HandleError::Stale`].
    pub fn size(&self, handle: Handle) -> Result<usize, HandleError> {
        self.objects.lock().1.get(&handle.to_bits()).map(|object| object.len()).ok_or(HandleError::Stale)
    }

    /// Bytes that [`Self::compact`] could return to the system now, if no object is being read.
    pub fn compactable_bytes(&self) -> usize {
        0
    }

    /// Moves objects together and returns what becomes free to the system.
    pub fn compact(&self, _budget: Budget) -> Compaction {
        Compaction { done: true, ..Compaction::default() }
    }

    /// Returns OS pages without a live object to the system, moving nothing. Returns their bytes.
    pub fn punch(&self) -> usize {
        0
    }

    /// Returns everything that is not in use to the system: compacts, punches, and gives up what is kept for reuse. Returns bytes.
    pub fn trim(&self) -> usize {
        0
    }

    /// What the pool holds and has done.
    pub fn stats(&self) -> Stats {
        let objects = self.objects.lock();
        let requested = objects.1.values().map(|object| object.len()).sum();
        Stats { objects: objects.1.len(), requested, resident: requested, ..Stats::default() }
    }

    /// Calls `each` with every size class.
    pub fn classes(&self, _each: impl FnMut(Class)) {}

    /// Walks every structure. Wants a pool that no other thread is changing.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}
