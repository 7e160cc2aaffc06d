//! Object caches, which know one layout only, as subjects.

use crate::subject::{Hooks, Subject};
use std::alloc::Layout;

type AllocFn<'a> = Box<dyn Fn() -> *mut u8 + Sync + 'a>;
type FreeFn<'a> = Box<dyn Fn(*mut u8) + Sync + 'a>;
type AllocBatchFn<'a> = Box<dyn Fn(&mut [*mut u8]) -> usize + Sync + 'a>;
type FreeBatchFn<'a> = Box<dyn Fn(&[*mut u8]) + Sync + 'a>;

/// A cache of objects of one layout, given as closures. The sizes and
/// alignments of operations are replaced by the cache's own.
///
/// The closures that free are called with live blocks of the cache only.
pub struct FixedSubject<'a> {
    layout: Layout,
    alloc: AllocFn<'a>,
    free: FreeFn<'a>,
    zeroed: Option<AllocFn<'a>>,
    batch: Option<(AllocBatchFn<'a>, FreeBatchFn<'a>)>,
    hooks: Hooks<'a>,
}

impl<'a> FixedSubject<'a> {
    /// A cache of objects of `layout`, which must not be of size 0.
    pub fn new(layout: Layout, alloc: impl Fn() -> *mut u8 + Sync + 'a, free: impl Fn(*mut u8) + Sync + 'a) -> Self {
        Self { layout, alloc: Box::new(alloc), free: Box::new(free), zeroed: None, batch: None, hooks: Hooks::default() }
    }

    /// Adds the cache's own zeroed allocation.
    pub fn with_zeroed(self, zeroed: impl Fn() -> *mut u8 + Sync + 'a) -> Self {
        Self { zeroed: Some(Box::new(zeroed)), ..self }
    }

    /// Adds the cache's own batches; see [`Subject::alloc_batch`].
    pub fn with_batch(self, alloc: impl Fn(&mut [*mut u8]) -> usize + Sync + 'a, free: impl Fn(&[*mut u8]) + Sync + 'a) -> Self {
        Self { batch: Some((Box::new(alloc), Box::new(free))), ..self }
    }

    /// Adds hooks.
    pub fn with_hooks(self, hooks: Hooks<'a>) -> Self {
        Self { hooks, ..self }
    }
}

impl Subject for FixedSubject<'_> {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        (self.alloc)()
    }

    unsafe fn dealloc(&self, ptr: *mut u8, _: Layout) {
        (self.free)(ptr);
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some(zeroed) = &self.zeroed {
            return zeroed();
        }
        let ptr = (self.alloc)();
        if !ptr.is_null() {
            // SAFETY: a fresh block, and `layout` is the cache's.
            unsafe { ptr.write_bytes(0, layout.size()) };
        }
        ptr
    }

    unsafe fn alloc_batch(&self, _: Layout, out: &mut [*mut u8]) -> usize {
        if let Some((alloc, _)) = &self.batch {
            return alloc(out);
        }
        for (done, entry) in out.iter_mut().enumerate() {
            *entry = (self.alloc)();
            if entry.is_null() {
                return done;
            }
        }
        out.len()
    }

    unsafe fn dealloc_batch(&self, ptrs: &[*mut u8], _: Layout) {
        match &self.batch {
            Some((_, free)) => free(ptrs),
            None => ptrs.iter().for_each(|&ptr| (self.free)(ptr)),
        }
    }

    fn layout(&self, _: Layout) -> Layout {
        self.layout
    }

    fn trim(&self) {
        self.hooks.run_trim();
    }

    fn drain(&self) {
        self.hooks.run_drain();
    }

    fn check(&self) -> Result<(), String> {
        self.hooks.run_check()
    }

    fn may_fail(&self) -> bool {
        self.hooks.may_fail
    }
}
