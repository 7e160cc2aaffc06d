//! The depot: full and empty magazines that a node's CPUs share. Theory 3.3.

use crate::stats::count;
use kmem_base::percpu::{Lease, PerCpu, Shape, Sheaf, Slot};
use kmem_base::sync::{AtomicU32, AtomicU64, Guard, Lock, Ordering, Rank};

/// A stack of magazines, chained through their blocks' first eight bytes, which never hold an object.
#[derive(Debug)]
struct Stack {
    head: *mut u8,
    len: u32,
    /// Least length since the last pass of the reaper: the magazines that nobody needed.
    low: u32,
}

#[derive(Debug)]
pub(crate) struct Magazines {
    full: Stack,
    empty: Stack,
}

// SAFETY: blocks that belong to the depot, reached under its lock alone.
unsafe impl Send for Magazines {}

/// Magazines of one cache, on one node.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Depot {
    magazines: Lock<Magazines, { Rank::Depot.of() }>,
    /// Full magazines, for a glance.
    fulls: AtomicU32,
    /// Times that the lock was held by somebody else.
    pub(crate) contended: AtomicU32,
}

impl Depot {
    pub(crate) fn new() -> Self {
        let magazines = Magazines { full: Stack::EMPTY, empty: Stack::EMPTY };
        Self { magazines: Lock::new(magazines), fulls: AtomicU32::new(0), contended: AtomicU32::new(0) }
    }

    /// The lock, taken; counted in `locks`, and as contended if somebody else held it: that is what makes magazines grow.
    fn lock(&self, locks: &AtomicU64) -> Guard<'_, Magazines, { Rank::Depot.of() }> {
        count(locks);
        self.magazines.try_lock().unwrap_or_else(|| {
            self.contended.fetch_add(1, Ordering::Relaxed);
            self.magazines.lock()
        })
    }

    /// Exchanges `empty`, or nothing, for a full magazine.
    ///
    /// # Errors
    /// `empty`, if there is no full one, or a drain has begun.
    pub(crate) fn take_full(
        &self,
        percpu: &PerCpu,
        slot: Slot,
        lease: &Lease,
        empty: Option<Sheaf>,
        locks: &AtomicU64,
    ) -> Result<Sheaf, Option<Sheaf>> {
        // A glance without the lock: who sees it too late takes the other way, which is open too.
        if self.fulls.load(Ordering::Relaxed) == 0 {
            return Err(empty);
        }
        let mut magazines = self.lock(locks);
        // Under the lock, since a drain empties the depot under it before it changes the magazines' size.
        let shape = lease.shape().filter(|_| percpu.lease(slot) == *lease);
        let Some((block, shape)) = shape.and_then(|shape| Some((magazines.full.pop()?, shape))) else { return Err(empty) };
        self.fulls.store(magazines.full.len, Ordering::Relaxed);
        if let Some(empty) = empty {
            magazines.empty.push(empty);
        }
        // SAFETY: a block of the full stack holds a full magazine of the slot's shape, and is ours now.
        Ok(unsafe { Sheaf::from_full(block, shape) })
    }

    /// Keeps a full magazine unless there are `most`, or a drain has begun; and gives an empty one for it, if there is one.
    ///
    /// # Errors
    /// The magazine, if it was not kept.
    pub(crate) fn put_full(
        &self,
        percpu: &PerCpu,
        slot: Slot,
        lease: &Lease,
        full: Sheaf,
        most: u32,
        locks: &AtomicU64,
    ) -> Result<Option<Sheaf>, Sheaf> {
        debug_assert!(full.is_full());
        // A glance, as above.
        if self.fulls.load(Ordering::Relaxed) >= most {
            return Err(full);
        }
        let mut magazines = self.lock(locks);
        if magazines.full.len >= most || percpu.lease(slot) != *lease {
            return Err(full);
        }
        let shape = full.shape();
        magazines.full.push(full);
        self.fulls.store(magazines.full.len, Ordering::Relaxed);
        // SAFETY: a block of the empty stack is a dead one of the slot's shape, and ours now.
        Ok(magazines.empty.pop().map(|block| unsafe { Sheaf::new(block, shape) }))
    }

    /// Takes a magazine, full or empty, that nobody has needed since the last pass of the reaper; begins a new interval if there is none
    /// left.
    pub(crate) fn take_idle(&self, percpu: &PerCpu, slot: Slot) -> Option<Sheaf> {
        let mut magazines = self.magazines.lock();
        let shape = percpu.lease(slot).shape()?;
        if let Some(block) = magazines.full.pop_idle() {
            self.fulls.store(magazines.full.len, Ordering::Relaxed);
            // SAFETY: as in `take_full`.
            return Some(unsafe { Sheaf::from_full(block, shape) });
        }
        if let Some(block) = magazines.empty.pop_idle() {
            // SAFETY: as in `put_full`.
            return Some(unsafe { Sheaf::new(block, shape) });
        }
        // Of both at once: a stack that begins anew while the other still has idle ones would give up all that it holds.
        magazines.full.begin_interval();
        magazines.empty.begin_interval();
        None
    }

    /// Takes any magazine, during a drain, which knows their shape.
    pub(crate) fn take_any(&self, shape: Shape) -> Option<Sheaf> {
        let mut magazines = self.magazines.lock();
        if let Some(block) = magazines.full.pop() {
            self.fulls.store(magazines.full.len, Ordering::Relaxed);
            // SAFETY: as in `take_full`.
            return Some(unsafe { Sheaf::from_full(block, shape) });
        }
        // SAFETY: as in `take_empty`.
        magazines.empty.pop().map(|block| unsafe { Sheaf::new(block, shape) })
    }

    /// Calls `each` with the objects of every full magazine. Where no drain runs, and magazines have `shape`.
    pub(crate) fn each(&self, shape: Shape, each: &mut dyn FnMut(&[*mut u8])) {
        let magazines = self.magazines.lock();
        let mut block = magazines.full.head;
        while !block.is_null() {
            let objects = block.cast::<*mut u8>().wrapping_add(shape.sentinel() + 1);
            // SAFETY: a block of the full stack: a full magazine of the slot's shape, under its link.
            unsafe {
                each(core::slice::from_raw_parts(objects, shape.cap as usize));
                block = block.cast::<*mut u8>().read();
            }
        }
    }

    /// Full and empty magazines kept.
    pub(crate) fn len(&self) -> (u32, u32) {
        let magazines = self.magazines.lock();
        (magazines.full.len, magazines.empty.len)
    }

    /// Takes the lock before `fork`.
    pub(crate) fn prepare_fork(&self) {
        self.magazines.acquire();
    }

    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe { self.magazines.release() };
    }
}

impl Stack {
    const EMPTY: Self = Self { head: core::ptr::null_mut(), len: 0, low: 0 };

    fn push(&mut self, sheaf: Sheaf) {
        let block = sheaf.into_block();
        // SAFETY: the block is the depot's, and its first slot never holds an object: at most the sentinel, which is restored.
        unsafe { block.cast::<*mut u8>().write(self.head) };
        self.head = block;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<*mut u8> {
        if self.head.is_null() {
            return None;
        }
        let block = self.head;
        // SAFETY: a kept block's first eight bytes are the link.
        self.head = unsafe { block.cast::<*mut u8>().read() };
        self.len -= 1;
        self.low = self.low.min(self.len);
        Some(block)
    }

    /// One of the magazines that stayed here all the interval.
    fn pop_idle(&mut self) -> Option<*mut u8> {
        let low = self.low.checked_sub(1)?;
        let block = self.pop();
        self.low = low;
        block
    }

    fn begin_interval(&mut self) {
        self.low = self.len;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn who_finds_the_lock_busy_is_counted() {
        let (depot, locks, percpu) = (Depot::new(), AtomicU64::new(0), PerCpu::new());
        let slot = Slot::new(0);
        depot.fulls.store(1, Ordering::Relaxed);
        let take = || depot.take_full(&percpu, slot, &percpu.lease(slot), None, &locks).is_err();
        assert!(take(), "there is none");
        assert_eq!((locks.load(Ordering::Relaxed), depot.contended.load(Ordering::Relaxed)), (1, 0));
        std::thread::scope(|scope| {
            depot.prepare_fork();
            scope.spawn(|| assert!(take()));
            while depot.contended.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            // SAFETY: taken above, by this thread.
            unsafe { depot.after_fork() };
        });
        assert_eq!((locks.load(Ordering::Relaxed), depot.contended.load(Ordering::Relaxed)), (2, 1));
        depot.fulls.store(0, Ordering::Relaxed);
        assert!(take());
        assert_eq!(locks.load(Ordering::Relaxed), 2, "a glance is enough to see that there is none");
    }
}
