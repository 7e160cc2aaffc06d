//! What the drivers test.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

/// An allocator under test.
///
/// The safety contracts are those of `GlobalAlloc`; the drivers keep them.
/// Implementations may break theirs: finding that out is the point.
pub trait Subject: Sync {
    /// Allocates a block.
    ///
    /// # Safety
    /// The size must not be 0.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8;

    /// Frees a block.
    ///
    /// # Safety
    /// The block must be live and of this layout.
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout);

    /// Allocates a zeroed block.
    ///
    /// # Safety
    /// The size must not be 0.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract.
        let ptr = unsafe { self.alloc(layout) };
        if !ptr.is_null() {
            // SAFETY: a fresh block of that size.
            unsafe { ptr.write_bytes(0, layout.size()) };
        }
        ptr
    }

    /// Changes the size of a block; null leaves it as it is.
    ///
    /// # Safety
    /// The block must be live and of this layout; `new_size` must not be 0.
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        // SAFETY: `new_size` is not 0 (caller).
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both blocks are at least that long, and distinct; the old
            // one is freed once.
            unsafe {
                ptr::copy(ptr, new, layout.size().min(new_size));
                self.dealloc(ptr, layout);
            }
        }
        new
    }

    /// Allocates `out.len()` blocks of one layout, and returns how many of them
    /// it has put to the front of `out`.
    ///
    /// # Safety
    /// The size must not be 0.
    unsafe fn alloc_batch(&self, layout: Layout, out: &mut [*mut u8]) -> usize {
        for (done, entry) in out.iter_mut().enumerate() {
            // SAFETY: same contract.
            *entry = unsafe { self.alloc(layout) };
            if entry.is_null() {
                return done;
            }
        }
        out.len()
    }

    /// Frees blocks of one layout.
    ///
    /// # Safety
    /// The blocks must be live, distinct, and of this layout.
    unsafe fn dealloc_batch(&self, ptrs: &[*mut u8], layout: Layout) {
        for &ptr in ptrs {
            // SAFETY: same contract.
            unsafe { self.dealloc(ptr, layout) };
        }
    }

    /// The layout to use when an operation asks for `requested`; a cache of
    /// objects answers with its own.
    fn layout(&self, requested: Layout) -> Layout {
        requested
    }

    /// Returns unused memory. Other threads may be at work.
    fn trim(&self) {}

    /// Forces the slow path, such as taking in remote frees. Other threads may
    /// be at work.
    fn drain(&self) {}

    /// Checks the internal structures. No other thread is at work.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether null is an acceptable answer, as with fault injection.
    fn may_fail(&self) -> bool {
        false
    }
}

/// Optional parts of a subject, for the adapters.
#[derive(Default)]
pub struct Hooks<'a> {
    /// See [`Subject::trim`].
    pub trim: Option<Box<dyn Fn() + Sync + 'a>>,
    /// See [`Subject::drain`].
    pub drain: Option<Box<dyn Fn() + Sync + 'a>>,
    /// See [`Subject::check`].
    pub check: Option<Box<dyn Fn() -> Result<(), String> + Sync + 'a>>,
    /// See [`Subject::may_fail`].
    pub may_fail: bool,
}

impl Hooks<'_> {
    pub(crate) fn run_trim(&self) {
        self.trim.iter().for_each(|trim| trim());
    }

    pub(crate) fn run_drain(&self) {
        self.drain.iter().for_each(|drain| drain());
    }

    pub(crate) fn run_check(&self) -> Result<(), String> {
        self.check.as_ref().map_or(Ok(()), |check| check())
    }
}

/// A `GlobalAlloc` as a subject.
pub struct GlobalSubject<'a, A> {
    alloc: &'a A,
    hooks: Hooks<'a>,
}

impl<'a, A: GlobalAlloc + Sync> GlobalSubject<'a, A> {
    /// Tests `alloc`, without hooks.
    pub fn new(alloc: &'a A) -> Self {
        Self { alloc, hooks: Hooks::default() }
    }

    /// Adds hooks.
    pub fn with_hooks(self, hooks: Hooks<'a>) -> Self {
        Self { hooks, ..self }
    }
}

impl<A: GlobalAlloc + Sync> Subject for GlobalSubject<'_, A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract.
        unsafe { self.alloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract.
        unsafe { self.alloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: same contract.
        unsafe { self.alloc.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: same contract.
        unsafe { self.alloc.realloc(ptr, layout, new_size) }
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
