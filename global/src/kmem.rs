//! The adapter to `GlobalAlloc`.

use crate::backend::{Backend, Slubq};
use crate::fork;
use core::alloc::{GlobalAlloc, Layout};
use core::marker::PhantomData;
use core::ptr::null_mut;
use kmem_base::classes::{Class, round_to_align};
use kmem_base::config::MAX_SMALL;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::pages::Grown;

/// A global allocator over the back end `B`.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: kmem::Kmem = kmem::Kmem::new();
///
/// assert_eq!(vec![1, 2, 3].iter().sum::<i32>(), 6);
/// ```
///
/// Knobs can be turned in the `static`; `KMEM_CONF=name:value,...` in the environment has the last word:
///
/// ```
/// # use kmem::{Kmem, Knob};
/// static ALLOCATOR: Kmem = Kmem::new().with(Knob::DecayMs, 250);
/// ```
///
/// However many values of this type there are, they share one heap per back end, so that what one allocated another may free. The
/// knobs are those of the value that allocates first.
#[derive(Debug)]
pub struct Kmem<B: Backend = Slubq> {
    settings: Settings,
    backend: PhantomData<fn() -> B>,
}

impl Kmem {
    /// The default: [`Slubq`] with every knob at its default. Costs nothing until the first allocation.
    #[must_use]
    pub const fn new() -> Self {
        Self::over()
    }
}

impl Default for Kmem {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Backend> Kmem<B> {
    /// The same over another back end.
    #[must_use]
    pub const fn over() -> Self {
        Self { settings: Settings::new(), backend: PhantomData }
    }

    /// With `knob` at `value`.
    ///
    /// # Panics
    /// If the knob does not accept the value; in a `static` that is a compile error.
    #[must_use]
    pub const fn with(mut self, knob: Knob, value: u64) -> Self {
        self.settings = self.settings.with(knob, value);
        self
    }

    /// Registers the handlers that make `fork` safe now instead of at the first allocation: for whoever wants them before others'.
    pub fn watch_forks(&self) {
        fork::watch::<B>();
    }

    /// Gives up what is not in use; returns bytes that went back to the system.
    pub fn trim(&self) -> usize {
        B::trim(kmem_slubq::Level::Queues)
    }

    /// Sets everything up, with this value's knobs, unless that has been done.
    #[inline]
    fn start(&self) -> bool {
        B::start(&self.settings) && fork::watch::<B>()
    }

    /// The heap of a back end that serves whole layouts.
    #[inline(always)]
    fn whole(&self) -> Option<&'static dyn GlobalAlloc> {
        B::whole().filter(|_| fork::watch::<B>())
    }

    #[inline(always)]
    fn alloc_small(&self, size: usize) -> *mut u8 {
        let class = Class::of(size);
        let object = B::alloc_fast(class);
        if object.is_null() { self.alloc_slow(class) } else { object }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, class: Class) -> *mut u8 {
        if self.start() { B::alloc_slow(class) } else { null_mut() }
    }

    #[cold]
    #[inline(never)]
    fn alloc_large(&self, layout: Layout, zeroed: bool) -> *mut u8 {
        if !self.start() {
            return null_mut();
        }
        B::tick();
        B::pages().alloc_large(layout.size(), layout.align(), zeroed)
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`], for a large block.
    #[cold]
    #[inline(never)]
    unsafe fn free_large(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { B::pages().free_large(block, layout.size()) };
        B::tick();
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[cold]
    #[inline(never)]
    unsafe fn move_to(&self, block: *mut u8, old: Layout, new: Layout) -> *mut u8 {
        // SAFETY: the new block is fresh, of `new.size()` bytes; the old one is the caller's, who gives it up if this succeeds.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, old.size().min(new.size()));
                self.dealloc(block, old);
            }
            moved
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`], with both sizes large.
    #[cold]
    #[inline(never)]
    unsafe fn resize_large(&self, block: *mut u8, old: Layout, new: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        match unsafe { B::pages().resize_large(block, old.size(), new.size(), old.align()) } {
            Grown::Done(resized) => resized,
            // SAFETY: the caller's.
            Grown::Copy => unsafe { self.move_to(block, old, new) },
        }
    }
}

// SAFETY: blocks are at least as large and aligned as their layout says: a size rounded up to its alignment falls into a class that is a
// multiple of it, and what is above the classes comes in pages. Nothing unwinds.
unsafe impl<B: Backend> GlobalAlloc for Kmem<B> {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(heap) = self.whole() {
            // SAFETY: the caller's.
            return unsafe { heap.alloc(layout) };
        }
        let size = round_to_align(layout);
        if size <= MAX_SMALL { self.alloc_small(size) } else { self.alloc_large(layout, false) }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(heap) = self.whole() {
            // SAFETY: the caller's.
            return unsafe { heap.dealloc(block, layout) };
        }
        let size = round_to_align(layout);
        // SAFETY: the layout is the one that the block was allocated with, so that it came from the same class or the page supply.
        unsafe { if size <= MAX_SMALL { B::free(Class::of(size), block) } else { self.free_large(block, layout) } }
    }

    #[inline(always)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some(heap) = self.whole() {
            // SAFETY: the caller's.
            return unsafe { heap.alloc_zeroed(layout) };
        }
        let size = round_to_align(layout);
        if size > MAX_SMALL {
            return self.alloc_large(layout, true);
        }
        let object = self.alloc_small(size);
        if !object.is_null() {
            // SAFETY: the object has at least that many bytes.
            unsafe { object.write_bytes(0, layout.size()) };
        }
        object
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if let Some(heap) = self.whole() {
            // SAFETY: the caller's.
            return unsafe { heap.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller's: the new size, rounded up to the alignment, does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let (old_size, size) = (round_to_align(layout), round_to_align(new));
        match (old_size <= MAX_SMALL, size <= MAX_SMALL) {
            (true, true) if Class::of(old_size) == Class::of(size) => block,
            // SAFETY: the caller's.
            (false, false) => unsafe { self.resize_large(block, layout, new) },
            // SAFETY: the caller's.
            _ => unsafe { self.move_to(block, layout, new) },
        }
    }
}
