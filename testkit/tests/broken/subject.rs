//! Allocators that are broken on purpose.

use kmem_testkit::Subject;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The ways to be broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    Twice,
    Inside,
    Misaligned,
    Scribble,
    Dirty,
    LostPrefix,
    Null,
    Panic,
}

/// The system allocator, which misbehaves once it has let a number of chances
/// pass. Nothing is ever freed, so that its misdeeds hit valid memory only.
pub(crate) struct Broken {
    fault: Fault,
    patience: AtomicUsize,
    last: Mutex<Option<(usize, Layout)>>,
}

impl Broken {
    pub(crate) fn new(fault: Fault, patience: usize) -> Self {
        Self { fault, patience: AtomicUsize::new(patience), last: Mutex::new(None) }
    }

    fn due(&self, fault: Fault) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.fault == fault && self.patience.fetch_update(Relaxed, Relaxed, less).is_err()
    }

    /// The last block, if it is still in use and fits `layout`.
    fn victim(&self, layout: Layout) -> Option<*mut u8> {
        let fits = |old: Layout| old.size() >= layout.size() && old.align() >= layout.align();
        let last = self.last.lock().unwrap().filter(|last| fits(last.1));
        last.map(|(addr, _)| ptr::with_exposed_provenance_mut(addr))
    }

    /// Remembers that a block is no longer in use.
    fn retire(&self, ptr: *mut u8) {
        self.last.lock().unwrap().take_if(|last| last.0 == ptr.addr());
    }

    fn misbehave(&self, good: *mut u8, layout: Layout) -> *mut u8 {
        let Some(victim) = self.victim(layout) else {
            return good;
        };
        match self.fault {
            Fault::Twice if self.due(Fault::Twice) => victim,
            Fault::Inside if self.due(Fault::Inside) => victim.wrapping_add(16),
            Fault::Misaligned if self.due(Fault::Misaligned) => good.wrapping_add(1),
            Fault::Null if self.due(Fault::Null) => ptr::null_mut(),
            Fault::Panic if self.due(Fault::Panic) => panic!("broken subject"),
            Fault::Scribble if self.due(Fault::Scribble) => {
                // SAFETY: all blocks here have 32 bytes at least, and none is
                // ever returned to the system.
                unsafe { victim.add(20).write(0) };
                good
            }
            _ => good,
        }
    }
}

impl Subject for Broken {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract.
        let good = unsafe { System.alloc(layout) };
        let ptr = self.misbehave(good, layout);
        *self.last.lock().unwrap() = Some((good.expose_provenance(), layout));
        ptr
    }

    unsafe fn dealloc(&self, ptr: *mut u8, _: Layout) {
        self.retire(ptr);
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract.
        let ptr = unsafe { System.alloc_zeroed(layout) };
        if self.due(Fault::Dirty) {
            // SAFETY: the last byte of a fresh block.
            unsafe { ptr.add(layout.size() - 1).write(7) };
        }
        ptr
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let new_layout = Layout::from_size_align(new_size, layout.align()).unwrap();
        self.retire(ptr);
        let kept = layout.size().min(new_size);
        // SAFETY: both blocks are at least `kept` bytes long, and distinct.
        unsafe {
            let new = System.alloc_zeroed(new_layout);
            ptr::copy_nonoverlapping(ptr, new, kept - usize::from(self.due(Fault::LostPrefix)));
            new
        }
    }
}

/// Makes room for the misdeeds of a broken subject, in blocks of any size.
pub(crate) struct AtLeast32(pub(crate) Broken);

impl Subject for AtLeast32 {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract.
        unsafe { self.0.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: same contract.
        unsafe { self.0.dealloc(ptr, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract.
        unsafe { self.0.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: same contract.
        unsafe { self.0.realloc(ptr, layout, new_size.max(32)) }
    }
    fn layout(&self, requested: Layout) -> Layout {
        Layout::from_size_align(requested.size().max(32), requested.align().max(2)).unwrap()
    }
}
