//! Doubly linked lists of pages through their descriptors. A list does not lock: it lives inside a lock.

use super::Page;
use core::ptr::null;

/// A list of pages that knows its length.
#[derive(Debug)]
pub struct PageList {
    head: *const Page,
    tail: *const Page,
    len: u32,
}

// SAFETY: descriptors are shared memory; the list only holds addresses of them.
unsafe impl Send for PageList {}

impl PageList {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { head: null(), tail: null(), len: 0 }
    }

    /// Pages on the list.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// True if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// The first page.
    #[inline]
    #[must_use]
    pub fn first(&self) -> Option<&'static Page> {
        // SAFETY: a listed page is a live descriptor; descriptors are never unmapped.
        unsafe { self.head.as_ref() }
    }

    /// The last page.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Option<&'static Page> {
        // SAFETY: as in `first`.
        unsafe { self.tail.as_ref() }
    }

    /// The page after `page`.
    ///
    /// # Safety
    /// `page` is on this list.
    #[must_use]
    pub unsafe fn after(&self, page: &Page) -> Option<&'static Page> {
        // SAFETY: the list is borrowed, so its lock is held.
        let next = unsafe { page.links(|links| links.next) };
        // SAFETY: as in `first`.
        unsafe { next.as_ref() }
    }

    /// The pages, first to last. The list must not change meanwhile, which its being borrowed sees to.
    pub fn pages(&self) -> impl Iterator<Item = &'static Page> + '_ {
        // SAFETY: what comes out of the list is on it.
        core::iter::successors(self.first(), |page| unsafe { self.after(page) })
    }

    /// Puts `page` in front.
    ///
    /// # Safety
    /// `page` is on no list and its descriptor outlives its time on this one.
    pub unsafe fn push(&mut self, page: &Page) {
        // SAFETY: the list is borrowed mutably, so its lock is held; so is the neighbour's, which is this list's.
        unsafe {
            page.links(|links| {
                links.prev = null();
                links.next = self.head;
            });
            match self.head.as_ref() {
                Some(head) => head.links(|links| links.prev = page),
                None => self.tail = page,
            }
        }
        self.head = page;
        self.len += 1;
    }

    /// Puts `page` at the end.
    ///
    /// # Safety
    /// As [`Self::push`].
    pub unsafe fn append(&mut self, page: &Page) {
        // SAFETY: as in `push`.
        unsafe {
            page.links(|links| {
                links.prev = self.tail;
                links.next = null();
            });
            match self.tail.as_ref() {
                Some(tail) => tail.links(|links| links.next = page),
                None => self.head = page,
            }
        }
        self.tail = page;
        self.len += 1;
    }

    /// Takes `page` out.
    ///
    /// # Safety
    /// `page` is on this list.
    pub unsafe fn remove(&mut self, page: &Page) {
        // SAFETY: as in `push`.
        unsafe {
            let (next, prev) = page.links(|links| (links.next, links.prev));
            match prev.as_ref() {
                Some(prev) => prev.links(|links| links.next = next),
                None => self.head = next,
            }
            match next.as_ref() {
                Some(next) => next.links(|links| links.prev = prev),
                None => self.tail = prev,
            }
        }
        self.len -= 1;
    }

    /// Takes the first page out.
    pub fn pop(&mut self) -> Option<&'static Page> {
        let page = self.first()?;
        // SAFETY: it is on this list.
        unsafe { self.remove(page) };
        Some(page)
    }

    /// Walks the list: links agree, and so do its end and its length.
    #[must_use]
    pub fn check(&self) -> bool {
        let (mut at, mut prev, mut count) = (self.head, null(), 0);
        // SAFETY: as in `first` and `push`.
        while let Some(page) = unsafe { at.as_ref() } {
            // SAFETY: the list is borrowed, so its lock is held.
            let (next, back) = unsafe { page.links(|links| (links.next, links.prev)) };
            if back != prev || count >= self.len {
                return false;
            }
            count += 1;
            (prev, at) = (at, next);
        }
        count == self.len && prev == self.tail
    }
}

impl Default for PageList {
    fn default() -> Self {
        Self::new()
    }
}
