//! Objects with a constructor: a stamp at both ends tells whether one is in its constructed state, and a count how many there are.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::thread;

const STAMP: u64 = 0x6b6d_656d_2066_757a;

/// The payload of an unwinding that was asked for. It bypasses the panic hook, which would end a fuzzer.
struct Blown;

/// Calls `f`; `None` if a constructor or destructor unwound as it was told to.
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f))
        .map_err(|payload| {
            if !payload.is::<Blown>() {
                resume_unwind(payload)
            }
        })
        .ok()
}

/// What the constructor and the destructor of a cache share.
#[derive(Debug)]
pub(crate) struct Made {
    size: usize,
    /// Objects constructed and not yet destroyed.
    pub(crate) alive: AtomicI64,
    /// Calls until one unwinds; 0: none will.
    pub(crate) constructor_fuse: AtomicU32,
    pub(crate) destructor_fuse: AtomicU32,
}

impl Made {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, alive: AtomicI64::new(0), constructor_fuse: AtomicU32::new(0), destructor_fuse: AtomicU32::new(0) }
    }

    /// What [`construct`] and [`destruct`] are to be called with: while this value lives.
    pub(crate) fn context(&self) -> *mut () {
        (&raw const *self).cast_mut().cast()
    }

    /// The stamp of an object, by which it is known if it is large enough to bear one.
    fn stamp(&self, object: *mut u8) -> [u8; 8] {
        (STAMP ^ object.addr() as u64).to_ne_bytes()
    }

    /// Puts the object in its constructed state.
    ///
    /// # Safety
    /// The object is the caller's.
    pub(crate) unsafe fn write(&self, object: *mut u8) {
        let (stamp, len) = (self.stamp(object), self.size.min(8));
        // SAFETY: the object has at least `size` bytes.
        unsafe {
            object.copy_from_nonoverlapping(stamp.as_ptr(), len);
            object.add(self.size - len).copy_from_nonoverlapping(stamp.as_ptr(), len);
        }
    }

    /// True if the object is in its constructed state.
    ///
    /// # Safety
    /// The object is the caller's.
    pub(crate) unsafe fn is_made(&self, object: *const u8) -> bool {
        let (stamp, len) = (self.stamp(object.cast_mut()), self.size.min(8));
        // SAFETY: the object has at least `size` bytes, and the constructor has written these.
        unsafe {
            let first = std::slice::from_raw_parts(object, len);
            let last = std::slice::from_raw_parts(object.add(self.size - len), len);
            last == &stamp[..len] && (self.size < 16 || first == &stamp[..len])
        }
    }
}

fn blows(fuse: &AtomicU32) -> bool {
    let left = fuse.load(Ordering::Relaxed);
    fuse.store(left.saturating_sub(1), Ordering::Relaxed);
    // A second unwinding beside the first would end the process.
    left == 1 && !thread::panicking()
}

/// # Safety
/// `object` is fresh memory of the size that the [`Made`] behind `context` knows.
pub(crate) unsafe fn construct(object: *mut u8, context: *mut ()) {
    // SAFETY: the context of a `Made`, and a fresh object.
    unsafe {
        let made = &*context.cast::<Made>();
        if blows(&made.constructor_fuse) {
            resume_unwind(Box::new(Blown));
        }
        made.write(object);
        made.alive.fetch_add(1, Ordering::Relaxed);
    }
}

/// # Safety
/// `object` was constructed with that `context`, and is dead.
pub(crate) unsafe fn destruct(object: *mut u8, context: *mut ()) {
    // SAFETY: the context of a `Made`, and an object of that cache.
    unsafe {
        let made = &*context.cast::<Made>();
        assert!(made.is_made(object), "destroyed an object that is not in its constructed state");
        // So that destroying it twice shows.
        object.add(made.size - made.size.min(8)).write_bytes(0, made.size.min(8));
        made.alive.fetch_sub(1, Ordering::Relaxed);
        if blows(&made.destructor_fuse) {
            resume_unwind(Box::new(Blown));
        }
    }
}
