//! The depot: full sheaves that a node's CPUs share. SLUB+Q's shared queue, Bonwick's depot of full magazines.

use kmem_base::percpu::{Lease, PerCpu, Shape, Sheaf, Slot};
use kmem_base::sync::{AtomicU32, Lock, Ordering, Rank};

#[derive(Debug)]
struct Full {
    head: *mut u8,
    len: u32,
    /// Least length since the last decay pass: what nobody needed.
    low: u32,
}

// SAFETY: a list of blocks that belong to the depot, reached under its lock alone.
unsafe impl Send for Full {}

/// Full sheaves of one cache, on one node.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Depot {
    full: Lock<Full, { Rank::Depot.of() }>,
    /// Times that the lock was held by somebody else.
    pub(crate) contended: AtomicU32,
}

impl Depot {
    /// An empty depot.
    pub(crate) fn new() -> Self {
        Self { full: Lock::new(Full { head: core::ptr::null_mut(), len: 0, low: 0 }), contended: AtomicU32::new(0) }
    }

    /// Takes a full sheaf, unless the lock is busy: then the slabs are the better place to go.
    #[must_use]
    pub(crate) fn take(&self, percpu: &PerCpu, slot: Slot, lease: &Lease) -> Option<Sheaf> {
        let Some(mut full) = self.full.try_lock() else {
            self.contended.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        // Under the lock, since a drain empties the depot under it before it changes the shape of sheaves.
        if percpu.lease(slot) != *lease {
            return None;
        }
        full.pop(lease.shape()?)
    }

    /// Keeps a full sheaf unless there are `most`, the lock is busy, or a drain has begun.
    ///
    /// # Errors
    /// The sheaf, if it was not kept.
    pub(crate) fn put(&self, percpu: &PerCpu, slot: Slot, lease: &Lease, sheaf: Sheaf, most: u32) -> Result<(), Sheaf> {
        let Some(mut full) = self.full.try_lock() else {
            self.contended.fetch_add(1, Ordering::Relaxed);
            return Err(sheaf);
        };
        if full.len >= most || percpu.lease(slot) != *lease {
            return Err(sheaf);
        }
        full.push(sheaf);
        Ok(())
    }

    /// Takes a sheaf that has been in nobody's way since the last pass, and begins a new pass when there is none left.
    #[must_use]
    pub(crate) fn take_idle(&self, percpu: &PerCpu, slot: Slot) -> Option<Sheaf> {
        let mut full = self.full.lock();
        let lease = percpu.lease(slot);
        if full.low == 0 {
            full.low = full.len;
            return None;
        }
        let idle = full.pop(lease.shape()?);
        full.low = full.low.saturating_sub(1);
        idle
    }

    /// Takes a sheaf during a drain, which knows that all are of `shape`.
    #[must_use]
    pub(crate) fn take_any(&self, shape: Shape) -> Option<Sheaf> {
        self.full.lock().pop(shape)
    }

    /// Sheaves kept.
    #[must_use]
    pub(crate) fn len(&self) -> u32 {
        self.full.lock().len
    }

    /// Takes the lock before `fork`.
    pub(crate) fn prepare_fork(&self) {
        self.full.acquire();
    }

    /// Releases it, in parent and child.
    ///
    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe { self.full.release() };
    }
}

impl Full {
    fn push(&mut self, sheaf: Sheaf) {
        let block = sheaf.into_block();
        // SAFETY: the block is the depot's, and its first slot never holds an object: at most the sentinel, which `from_full` restores.
        unsafe { block.cast::<*mut u8>().write(self.head) };
        self.head = block;
        self.len += 1;
    }

    fn pop(&mut self, shape: Shape) -> Option<Sheaf> {
        if self.head.is_null() {
            return None;
        }
        let block = self.head;
        // SAFETY: a kept block's first eight bytes are the link, and it holds a full sheaf of the slot's shape.
        unsafe {
            self.head = block.cast::<*mut u8>().read();
            self.len -= 1;
            self.low = self.low.min(self.len);
            Some(Sheaf::from_full(block, shape))
        }
    }
}
