//! An allocator that exists for one input.

use crate::ledger::Ledger;
use kmem_base::source::{PageSource, Plan};
use std::ptr::NonNull;
use std::thread;

/// An allocator and the source it takes its memory from. Both are gone when this is dropped, unless a panic is under way: then
/// somebody may be in the midst of something.
pub(crate) struct World<T: 'static> {
    pub(crate) it: &'static T,
    pub(crate) ledger: &'static Ledger,
}

impl<T> World<T> {
    pub(crate) fn new(make: impl FnOnce(&'static dyn PageSource) -> T) -> Self {
        let ledger: &'static Ledger = Box::leak(Box::default());
        Self { it: Box::leak(Box::new(make(ledger))), ledger }
    }

    pub(crate) fn plan(&self, plan: Plan) {
        self.ledger.faulty.plan(plan);
    }
}

impl<T> Drop for World<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        // SAFETY: both came from a box; the target is done with the allocator, and nothing else knows it.
        unsafe {
            drop(Box::from_raw(NonNull::from(self.it).as_ptr()));
            self.ledger.close();
            drop(Box::from_raw(NonNull::from(self.ledger).as_ptr()));
        }
    }
}
