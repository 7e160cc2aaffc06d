//! A mempool over a handle's cache, and what was taken from it.

use super::handle::Handle;
use crate::made::guarded;
use kmem_slab::{Element, Mempool};
use kmem_testkit::Shadow;
use std::ptr::NonNull;

pub(super) struct Pool {
    /// From a box, and given back to it by `close`, after the elements.
    pool: NonNull<Mempool>,
    elements: Vec<Element<'static>>,
    count: usize,
}

impl Pool {
    pub(super) fn new(pool: Mempool, count: usize) -> Self {
        assert_eq!(pool.available(), count);
        Self { pool: NonNull::from(Box::leak(Box::new(pool))), elements: Vec::new(), count }
    }

    fn pool(&self) -> &'static Mempool {
        // SAFETY: it lives until `close`, which drops every element first.
        unsafe { self.pool.as_ref() }
    }

    /// Objects of the cache that it holds.
    pub(super) fn held(&self) -> usize {
        self.elements.len() + self.pool().available()
    }

    /// Takes an object. None is a right answer only if all that were set aside are out.
    pub(super) fn draw(&mut self, handle: &Handle, shadow: &mut Shadow, may_fail: bool) {
        let Some(element) = guarded(|| self.pool().alloc()) else { return };
        assert!(element.is_some() || may_fail && self.elements.len() >= self.count, "a reserve was empty too early");
        if let Some(element) = element {
            handle.note(shadow, element.as_ptr());
            self.elements.push(element);
        }
    }

    pub(super) fn give(&mut self, handle: &Handle, shadow: &mut Shadow, which: u16) {
        let Some(which) = usize::from(which).checked_rem(self.elements.len()) else { return };
        let element = self.elements.swap_remove(which);
        handle.leave(shadow, element.as_ptr());
        guarded(|| drop(element));
    }

    pub(super) fn close(mut self, handle: &Handle, shadow: &mut Shadow) {
        while !self.elements.is_empty() {
            self.give(handle, shadow, 0);
        }
        // SAFETY: it came from a box, and nothing borrows it any more.
        let pool = unsafe { Box::from_raw(self.pool.as_ptr()) };
        guarded(|| drop(pool));
    }
}
