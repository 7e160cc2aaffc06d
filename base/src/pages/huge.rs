//! The table of huge blocks: mappings of their own, found by address.

use crate::config::HUGE_BUCKETS;
use crate::source::{PageSource, os_page};
use crate::sync::{Lock, Rank, const_fn};
use core::ptr::{NonNull, null_mut};

/// A huge block.
#[derive(Debug, Clone, Copy)]
struct Node {
    address: usize,
    /// Bytes of the mapping; its address as pointer is kept so that its provenance is.
    len: usize,
    block: *mut u8,
    next: *mut Node,
}

#[derive(Debug)]
struct Table {
    buckets: [*mut Node; HUGE_BUCKETS],
    spare: *mut Node,
    count: usize,
    bytes: usize,
}

// SAFETY: nodes are reached through the table alone, whose lock guards them.
unsafe impl Send for Table {}

/// See the module.
#[derive(Debug)]
pub(super) struct Huge {
    table: Lock<Table, { Rank::Huge.of() }>,
}

/// A node that is on no list: the right to enter one block. Given back with [`Huge::put_back`] or [`Huge::enter`].
#[derive(Debug)]
#[must_use]
pub(super) struct Entry(NonNull<Node>);

fn bucket(address: usize) -> usize {
    // Blocks lie on OS pages; the multiplier spreads what is left.
    ((address >> 12).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % HUGE_BUCKETS
}

impl Huge {
    const_fn! {
        pub(super) const fn new() -> Self {
            let table = Table { buckets: [null_mut(); HUGE_BUCKETS], spare: null_mut(), count: 0, bytes: 0 };
            Self { table: Lock::new(table) }
        }
    }

    /// A node to enter a block with; taken before the block is made, so that making it is the last thing that can fail.
    pub(super) fn reserve(&self, source: &dyn PageSource) -> Option<Entry> {
        let mut table = self.table.lock();
        if table.spare.is_null() {
            let len = os_page();
            let nodes = source.map(len, len)?.cast::<Node>();
            for at in 0..len / size_of::<Node>() {
                // SAFETY: inside the page just mapped, which is never unmapped.
                unsafe {
                    let node = nodes.add(at);
                    node.write(Node { address: 0, len: 0, block: null_mut(), next: table.spare });
                    table.spare = node.as_ptr();
                }
            }
        }
        let node = NonNull::new(table.spare)?;
        // SAFETY: a spare node is ours under the lock.
        table.spare = unsafe { node.as_ref().next };
        Some(Entry(node))
    }

    /// Gives an unused entry back.
    pub(super) fn put_back(&self, entry: Entry) {
        let mut table = self.table.lock();
        // SAFETY: the entry owns its node.
        unsafe { (*entry.0.as_ptr()).next = table.spare };
        table.spare = entry.0.as_ptr();
    }

    /// Enters the block `block .. block + len`.
    pub(super) fn enter(&self, entry: Entry, block: NonNull<u8>, len: usize) {
        let address = block.as_ptr().addr();
        let mut table = self.table.lock();
        let next = table.buckets[bucket(address)];
        // SAFETY: the entry owns its node.
        unsafe { entry.0.as_ptr().write(Node { address, len, block: block.as_ptr(), next }) };
        table.buckets[bucket(address)] = entry.0.as_ptr();
        table.count += 1;
        table.bytes += len;
    }

    /// Removes the block at `address`: from here on nobody else can.
    pub(super) fn remove(&self, address: usize) -> Option<(Entry, NonNull<u8>, usize)> {
        let mut table = self.table.lock();
        let mut link: *mut *mut Node = &raw mut table.buckets[bucket(address)];
        loop {
            // SAFETY: links and nodes of the table are live under its lock.
            let node = NonNull::new(unsafe { *link })?;
            // SAFETY: as above.
            let found = unsafe { *node.as_ref() };
            if found.address == address {
                // SAFETY: as above.
                unsafe { *link = found.next };
                table.count -= 1;
                table.bytes -= found.len;
                return Some((Entry(node), NonNull::new(found.block)?, found.len));
            }
            // SAFETY: as above.
            link = unsafe { &raw mut (*node.as_ptr()).next };
        }
    }

    /// Bytes of the block at `address`.
    pub(super) fn len_of(&self, address: usize) -> Option<usize> {
        let table = self.table.lock();
        let mut node = table.buckets[bucket(address)];
        // SAFETY: nodes of the table are live under its lock.
        while let Some(found) = unsafe { node.as_ref() } {
            if found.address == address {
                return Some(found.len);
            }
            node = found.next;
        }
        None
    }

    /// Every node is in its bucket, and the sums are right.
    pub(super) fn check(&self) -> bool {
        let table = self.table.lock();
        let (mut count, mut bytes) = (0, 0);
        for (index, first) in table.buckets.iter().enumerate() {
            let mut node = *first;
            // SAFETY: nodes of the table are live under its lock.
            while let Some(found) = unsafe { node.as_ref() } {
                if bucket(found.address) != index || found.block.addr() != found.address {
                    return false;
                }
                count += 1;
                bytes += found.len;
                node = found.next;
            }
        }
        (count, bytes) == (table.count, table.bytes)
    }

    pub(super) fn prepare_fork(&self) {
        self.table.acquire();
    }

    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub(super) unsafe fn after_fork(&self) {
        // SAFETY: the caller's.
        unsafe { self.table.release() };
    }
}
