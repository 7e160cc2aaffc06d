//! A shard: everything that is under one lock, and the slots, which are under none (theory 3.2, 3.5).

use super::classes::Class;
use super::compact::Cursor;
use super::config::{CELLS, CELLS_OF_PLACE, KEEP_PAGES};
use super::error::AllocError;
use super::inner::Inner;
use super::quota::Quota;
use super::region::Region;
use super::slots::slot;
use super::word::{Generation, Location, Slot, Word};
use core::ptr::NonNull;
use kmem_base::filled;
use kmem_base::source::{PageSource, os_page};
use kmem_base::sync::{AtomicU32, Guard, Lock, Ordering, Rank, UnsafeCell};

/// The lock of a shard.
pub(super) const SHARD: u8 = Rank::Shard.of();
/// The lock of its compaction, before it.
pub(super) const COMPACTION: u8 = Rank::Drain.of();

/// Lies at the beginning of its own address space.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) region: Region,
    /// Slots that are writable, and may be looked at.
    usable: AtomicU32,
    pub(super) cursor: Lock<Cursor, COMPACTION>,
    apart: Apart,
    /// What models see of objects.
    cells: [UnsafeCell<()>; CELLS],
}

/// Not on the lines that readers read.
#[derive(Debug)]
#[repr(align(128))]
struct Apart(Lock<Inner, SHARD>);

// SAFETY: everything in it is atomic, locked, or constant; the cells hold nothing.
unsafe impl Send for Shard {}
// SAFETY: as above.
unsafe impl Sync for Shard {}

/// A new object.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) slot: u32,
    pub(super) generation: Generation,
    pub(super) at: Location,
}

impl Shard {
    /// Makes a shard of up to `places` places.
    pub(super) fn create(source: &dyn PageSource, places: u32) -> Option<NonNull<Self>> {
        let region = Region::reserve(source, size_of::<Self>(), places)?;
        let header = size_of::<Self>().next_multiple_of(os_page());
        // SAFETY: the region's first part.
        if !unsafe { source.commit(region.base(), header) } {
            // SAFETY: nothing is in it yet.
            unsafe { region.unmap(source) };
            return None;
        }
        let shard = region.base().cast::<Self>();
        // SAFETY: writable, large enough, aligned to a place, and nobody else's.
        unsafe {
            shard.write(Self {
                region,
                usable: AtomicU32::new(0),
                cursor: Lock::new(Cursor::default()),
                apart: Apart(Lock::new(Inner::new(region))),
                cells: filled![UnsafeCell::new(()); CELLS],
            });
        }
        Some(shard)
    }

    /// Unmaps it, with every object.
    ///
    /// # Safety
    /// From [`Self::create`] of this source; nothing refers to it any more.
    pub(super) unsafe fn destroy(shard: NonNull<Self>, source: &dyn PageSource) {
        // SAFETY: the caller's.
        unsafe {
            let region = shard.as_ref().region;
            shard.drop_in_place();
            region.unmap(source);
        }
    }

    /// Takes the lock. `busy` is called if somebody else holds it.
    pub(super) fn lock_or(&self, busy: impl FnOnce()) -> Guard<'_, Inner, SHARD> {
        match self.apart.0.try_lock() {
            Some(inner) => inner,
            None => {
                busy();
                self.lock()
            }
        }
    }

    pub(super) fn lock(&self) -> Guard<'_, Inner, SHARD> {
        self.apart.0.lock()
    }

    /// The slot of a handle, if there is such a one.
    #[inline]
    pub(super) fn slot(&self, index: u32) -> Option<&Slot> {
        // Acquire pairs with the Release of whoever made the slots writable.
        (index < self.usable.load(Ordering::Acquire)).then(|| slot(&self.region, index))
    }

    /// A new object of `size` bytes, as if being written if `seized`.
    pub(super) fn take(
        &self,
        size: usize,
        seized: bool,
        inner: &mut Inner,
        quota: &Quota,
        source: &dyn PageSource,
    ) -> Result<Taken, AllocError> {
        if !inner.slots.ready(&self.region, &self.usable, source) {
            return Err(AllocError::Memory);
        }
        let slot = inner.slots.next();
        let at = inner.take_object(Class::of(size), slot, quota, source)?;
        let generation = inner.slots.take(&self.region);
        inner.requested += size;
        let word = Word::live(generation, size, at);
        inner.slot(slot).store(if seized { word.seize(generation).unwrap_or(word) } else { word });
        Ok(Taken { slot, generation, at })
    }

    /// Releases the object of a slot that is dying without guards. True if more memory is free now than the shard should keep.
    pub(super) fn release(&self, index: u32) -> bool {
        let mut inner = self.lock();
        let word = inner.slot(index).load();
        debug_assert!(word.is_dying() && word.pins() == 0 && !word.is_moving());
        inner.requested -= word.size();
        inner.put_object(word.location());
        inner.slots.put(&self.region, index);
        inner.supply.spare_pages > KEEP_PAGES
    }

    /// Reads through a live object's cell.
    #[inline]
    pub(super) fn reads<R>(&self, at: Location, read: impl FnOnce() -> R) -> R {
        self.cell(at).with(|_| read())
    }

    /// Writes through it.
    #[inline]
    pub(super) fn writes<R>(&self, at: Location, write: impl FnOnce() -> R) -> R {
        self.cell(at).with_mut(|_| write())
    }

    #[inline]
    fn cell(&self, at: Location) -> &UnsafeCell<()> {
        &self.cells[(at.place() as usize * CELLS_OF_PLACE + at.offset() / 2048) % CELLS]
    }
}
