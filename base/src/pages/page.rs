//! The page descriptor: what the kernel calls `struct page`.

use crate::config::{INLINE_WORDS, PAGE_SHIFT};
use crate::sync::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, UnsafeCell};
use core::ptr::null;

/// What a page is in use as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Free, or inside a large block.
    Free = 0,
    /// First page of a slab.
    Slab = 1,
    /// Later page of a slab; `span` is the distance to the first.
    Tail = 2,
    /// First page of a large block.
    Large = 3,
    /// First page of a metadata run.
    Meta = 4,
    /// First page of a run that a CPU keeps: free.
    Idle = 5,
}

/// Descriptor of one page, found by index and never from the object: 64 bytes, one cache line. All zero is a valid, free page.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Page {
    /// The owner's state word.
    pub state: AtomicU32,
    /// Address of the page over [`PAGE_SHIFT`]: the kernel's pfn.
    frame: AtomicU32,
    /// The cache whose slab starts here.
    owner: AtomicPtr<()>,
    /// Neighbours on the list that the page is on; guarded by that list's lock.
    links: UnsafeCell<Links>,
    kind: AtomicU8,
    /// Shard that the slab belongs to.
    pub home: AtomicU8,
    /// What the last decay pass saw of the slab; 0 once something has been taken from it since. Guarded as taking is.
    pub seen: AtomicU16,
    /// Pages of the run in its first page; distance to the first page in a `Tail`.
    span: AtomicU32,
    /// Free bits of a slab, or the summary of the bits at its end.
    pub bits: [AtomicU64; INLINE_WORDS],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Links {
    pub(super) next: *const Page,
    pub(super) prev: *const Page,
}

// SAFETY: everything but `links` is atomic, and `links` is only touched under the lock of the list that the page is on.
unsafe impl Sync for Page {}
// SAFETY: nothing in a descriptor belongs to a thread.
unsafe impl Send for Page {}

impl Page {
    /// A free page's descriptor, for models and tests; in use they are zeroed memory from the system.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            frame: AtomicU32::new(0),
            owner: AtomicPtr::new(core::ptr::null_mut()),
            links: UnsafeCell::new(Links { next: null(), prev: null() }),
            kind: AtomicU8::new(0),
            home: AtomicU8::new(0),
            seen: AtomicU16::new(0),
            span: AtomicU32::new(0),
            bits: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    // Relaxed throughout: a descriptor is written before an object of its page is handed out, and whoever brings the object
    // back has synchronised with whoever got it, as for any memory.

    /// What the page is in use as.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.kind.load(Ordering::Relaxed) {
            1 => Kind::Slab,
            2 => Kind::Tail,
            3 => Kind::Large,
            4 => Kind::Meta,
            5 => Kind::Idle,
            _ => Kind::Free,
        }
    }

    /// Pages of the run that starts here.
    #[inline]
    #[must_use]
    pub fn span(&self) -> u32 {
        self.span.load(Ordering::Relaxed)
    }

    /// Address of the page's first byte.
    #[inline]
    #[must_use]
    pub fn address(&self) -> usize {
        (self.frame.load(Ordering::Relaxed) as usize) << PAGE_SHIFT
    }

    /// The owner set by [`Self::set_owner`].
    #[inline]
    #[must_use]
    pub fn owner(&self) -> *mut () {
        self.owner.load(Ordering::Relaxed)
    }

    /// Notes the cache that the slab belongs to.
    pub fn set_owner(&self, owner: *mut ()) {
        self.owner.store(owner, Ordering::Relaxed);
    }

    /// Notes what the run that starts here is; models and tests call it, the page supply does for runs in use.
    pub fn begin(&self, kind: Kind, address: usize, span: u32) {
        self.frame.store((address >> PAGE_SHIFT) as u32, Ordering::Relaxed);
        self.span.store(span, Ordering::Relaxed);
        self.seen.store(0, Ordering::Relaxed);
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    pub(super) fn set_span(&self, span: u32) {
        self.span.store(span, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.kind.store(Kind::Free as u8, Ordering::Relaxed);
    }

    /// The run that starts here is free, and kept.
    pub(super) fn rest(&self) {
        self.kind.store(Kind::Idle as u8, Ordering::Relaxed);
    }

    /// # Safety
    /// The caller holds the lock of the list that the page is on, or is about to be on.
    pub(super) unsafe fn links<R>(&self, f: impl FnOnce(&mut Links) -> R) -> R {
        // SAFETY: that lock makes this the only access.
        self.links.with_mut(|links| f(unsafe { &mut *links }))
    }
}
