//! A heap over an operating system's pages, which go back to it as soon as they are empty.

use crate::book::Book;
use crate::config::{RESERVE, RESERVE_LEAST, STEP};
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use core::ops::Range;
use core::ptr::NonNull;
use kmem_base::source::PageSource;

/// One reservation of address space, which becomes memory from below as the heap grows.
#[derive(Debug)]
pub struct Paged<S: PageSource + 'static> {
    source: &'static S,
    at: Option<NonNull<u8>>,
    reserved: usize,
    /// Bytes that can be written; of them the heap has the first `used`.
    committed: usize,
    used: usize,
    pending: Range<usize>,
}

// SAFETY: address space that is this value's alone.
unsafe impl<S: PageSource> Send for Paged<S> {}

impl<S: PageSource> Paged<S> {
    /// Nothing reserved yet.
    #[must_use]
    pub const fn new(source: &'static S) -> Self {
        Self { source, at: None, reserved: 0, committed: 0, used: 0, pending: 0..0 }
    }

    /// Bytes that the system has made writable, of which those of free pages are given back.
    #[must_use]
    pub const fn committed(&self) -> usize {
        self.committed
    }

    /// As much address space as there is, and where it is.
    fn reserve(&mut self) -> Option<NonNull<u8>> {
        let mut len = RESERVE;
        while self.at.is_none() && len >= RESERVE_LEAST {
            self.at = self.source.reserve(len, STEP);
            self.reserved = len;
            len /= 2;
        }
        self.at
    }
}

// SAFETY: what is handed out was committed, and the reservation is nobody else's.
unsafe impl<S: PageSource> Ground for Paged<S> {
    const RETURNS: bool = true;

    fn grow(&mut self, bytes: usize) -> Option<(NonNull<u8>, usize)> {
        let at = self.reserve()?;
        let end = self.used.checked_add(bytes)?.checked_next_multiple_of(STEP).filter(|end| *end <= self.reserved)?;
        if end > self.committed {
            // SAFETY: within the reservation.
            let (from, len) = (unsafe { at.add(self.committed) }, end - self.committed);
            // SAFETY: as above.
            if !unsafe { self.source.commit(from, len) } {
                return None;
            }
            self.committed = end;
        }
        // SAFETY: as above.
        let more = (unsafe { at.add(self.used) }, end - self.used);
        self.used = end;
        Some(more)
    }

    unsafe fn purge(&mut self, at: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's. Refused, the pages stay resident, and nothing else.
        unsafe { self.source.purge(at, bytes) };
    }

    unsafe fn reset(&mut self) {
        if let Some(at) = self.at {
            // SAFETY: the caller's, and as above.
            unsafe { self.source.purge(at, self.used) };
        }
        (self.used, self.pending) = (0, 0..0);
    }

    fn pending(&mut self) -> Option<&mut Range<usize>> {
        Some(&mut self.pending)
    }
}

impl<S: PageSource> Drop for Paged<S> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            // SAFETY: the whole reservation; whoever drops a heap has no use for its blocks.
            unsafe { self.source.unmap(at, self.reserved) };
        }
    }
}

impl<S: PageSource, M: Mode, B: Book> Heap<Paged<S>, M, B> {
    /// A heap over the pages of `source`. Asks for nothing before the first allocation.
    pub const fn over(source: &'static S) -> Self {
        Self::new(Paged::new(source))
    }

    /// Gives the free pages back that were kept for a moment; returns their bytes.
    pub fn trim(&mut self) -> usize {
        let pending = core::mem::replace(&mut self.ground.pending, 0..0);
        self.give_back(pending)
    }
}
