//! What every interface here is made of: sizes, alignments and errno as C wants them, over one heap.

use crate::{early, image};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use kmem_base::classes::Class;
use kmem_base::config::MAX_SMALL;
use kmem_base::pages::Grown;
use kmem_base::sync::{AtomicU8, Ordering};
use kmem_global::{Kmem, Slubq};

/// What every block is aligned to: `alignof(max_align_t)`.
pub(crate) const ALIGN: usize = 16;
/// Larger blocks are refused, whatever memory there is: pointers into them could not be subtracted.
const MOST: usize = isize::MAX as usize;
/// A block may keep one part in this many of its size when it shrinks; below that it moves to a smaller one.
const KEEP: usize = 2;
static KMEM: Kmem = Kmem::new();

/// Class of a block of 16 times the index: only classes that are multiples of [`ALIGN`], and the smallest for nothing.
static CLASSES: [Class; MAX_SMALL / ALIGN + 1] = classes();

const fn classes() -> [Class; MAX_SMALL / ALIGN + 1] {
    let mut classes = [Class::of(ALIGN); MAX_SMALL / ALIGN + 1];
    let mut at = 1;
    while at < classes.len() {
        classes[at] = Class::of(at * ALIGN);
        at += 1;
    }
    classes
}

#[inline(always)]
pub(crate) fn class_of(size: usize) -> Class {
    // Every caller has just compared `size` with `MAX_SMALL`, which is what removes the bounds check.
    CLASSES[size.div_ceil(ALIGN)]
}

/// Allocates `size` bytes. Null, and `ENOMEM`, if there is no memory.
#[inline(always)]
pub(crate) fn alloc(size: usize) -> *mut u8 {
    if size <= MAX_SMALL {
        let object = Slubq::get().alloc_fast(class_of(size));
        if !object.is_null() {
            return object;
        }
    }
    alloc_slow(size)
}

/// Registers the handlers of `fork` before the program's constructors run: first registered, they take every lock after the program's
/// have done what they do, and release them before. Nor may they be registered by an allocation of `pthread_atfork`'s own, which has its
/// lock then.
extern "C" fn at_load() {
    if image::serves_the_program() {
        KMEM.watch_forks();
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

#[cold]
#[inline(never)]
fn alloc_slow(size: usize) -> *mut u8 {
    if size <= MAX_SMALL {
        let object = Slubq::get().alloc_locked(class_of(size));
        if !object.is_null() {
            return object;
        }
    }
    alloc_aligned(ALIGN, size)
}

/// The same with every byte zero.
#[inline(always)]
pub(crate) fn alloc_zeroed(size: usize) -> *mut u8 {
    if size > MAX_SMALL {
        return alloc_zeroed_large(size);
    }
    let object = alloc(size);
    if !object.is_null() {
        // SAFETY: the object has at least that many bytes.
        unsafe { object.write_bytes(0, size) };
    }
    object
}

#[cold]
#[inline(never)]
fn alloc_zeroed_large(size: usize) -> *mut u8 {
    match layout(ALIGN, size) {
        // SAFETY: the size is not 0.
        Some(layout) if image::relocated() => served(|| unsafe { KMEM.alloc_zeroed(layout) }),
        Some(_) => early::alloc(size, ALIGN),
        None => refuse(),
    }
}

/// Allocates `size` bytes aligned to `align`, a power of two. Null, and `ENOMEM`, if there is no memory.
pub(crate) fn alloc_aligned(align: usize, size: usize) -> *mut u8 {
    match layout(align, size) {
        // SAFETY: the size is not 0.
        Some(layout) if image::relocated() => served(|| unsafe { KMEM.alloc(layout) }),
        Some(_) => early::alloc(size, align),
        None => refuse(),
    }
}

/// The layout to ask the heap for. Its size is a multiple of [`ALIGN`], as an object's alignment is what divides its size.
fn layout(align: usize, size: usize) -> Option<Layout> {
    let size = size.max(1).checked_next_multiple_of(ALIGN).filter(|size| *size <= MOST)?;
    Layout::from_size_align(size, align.max(ALIGN)).ok()
}

/// What `make` returns, with errno as C wants it: `ENOMEM` on failure, untouched otherwise, whatever the system was asked meanwhile.
fn served(make: impl FnOnce() -> *mut u8) -> *mut u8 {
    let before = errno();
    pin_once();
    let block = make();
    set_errno(if block.is_null() { libc::ENOMEM } else { before });
    block
}

/// Must come before anything of the heap's is used in another way than through this module.
pub(crate) fn prepare() {
    pin_once();
    KMEM.watch_forks();
}

/// See [`image::pin`].
fn pin_once() {
    static PINNED: AtomicU8 = AtomicU8::new(0);
    // Relaxed: pinning twice does no harm. Marked first, because pinning may allocate.
    if PINNED.load(Ordering::Relaxed) == 0 {
        PINNED.store(1, Ordering::Relaxed);
        image::pin();
    }
}

/// Refuses an allocation.
#[cold]
pub(crate) fn refuse() -> *mut u8 {
    if image::relocated() {
        set_errno(libc::ENOMEM);
    }
    null_mut()
}

/// Frees a block, or nothing if it is null. Leaves errno alone.
///
/// # Safety
/// The block came from here and is dead.
#[inline(always)]
pub(crate) unsafe fn free(block: *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        if !Slubq::get().free_unknown(block) {
            free_slow(block);
        }
    }
}

#[cold]
#[inline(never)]
unsafe fn free_slow(block: *mut u8) {
    // SAFETY: the caller's.
    if unsafe { Slubq::get().free_unknown_locked(block) } {
        return;
    }
    // A block from before stays where it is.
    if block.is_null() || early::size_of(block).is_some() {
        return;
    }
    let before = errno();
    // SAFETY: the caller's.
    unsafe { Slubq::get().free_unknown_slow(block) };
    set_errno(before);
}

/// Usable bytes of a block; 0 if there is none.
pub(crate) fn usable(block: *mut u8) -> usize {
    // First, as the heap may not be there to be asked yet.
    early::size_of(block).or_else(|| Slubq::get().usable_size(block)).unwrap_or(0)
}

/// Changes the size of a block; it may move. Null, and `ENOMEM`, if there is no memory, and the block is as it was.
///
/// # Safety
/// The block came from here and is live; if this returns another one, it is dead.
pub(crate) unsafe fn resize(block: *mut u8, size: usize) -> *mut u8 {
    let old = usable(block);
    if old == 0 {
        // SAFETY: not a block of ours: this says so, and does not return.
        unsafe { free_slow(block) };
    }
    let keeps = size <= old && (size >= old / KEEP || old <= ALIGN);
    match (old <= MAX_SMALL, size <= MAX_SMALL) {
        (true, true) if keeps => block,
        // SAFETY: the caller's.
        (false, false) => unsafe { resize_large(block, old, size) },
        // SAFETY: the caller's.
        _ => unsafe { move_to(block, old, size) },
    }
}

/// # Safety
/// As [`resize`], both sizes large.
#[inline(never)]
unsafe fn resize_large(block: *mut u8, old: usize, size: usize) -> *mut u8 {
    if size > MOST {
        return refuse();
    }
    let before = errno();
    // SAFETY: the caller's; the old size is the block's own.
    let resized = unsafe { Slubq::get().pages().resize_large(block, old, size, ALIGN) };
    set_errno(before);
    match resized {
        Grown::Done(resized) => resized,
        // SAFETY: the caller's.
        Grown::Copy => unsafe { move_to(block, old, size) },
    }
}

/// # Safety
/// As [`resize`].
unsafe fn move_to(block: *mut u8, old: usize, size: usize) -> *mut u8 {
    let moved = alloc(size);
    if !moved.is_null() {
        // SAFETY: two live blocks of at least that many bytes; the old one is dead after that.
        unsafe {
            moved.copy_from_nonoverlapping(block, old.min(size));
            free(block);
        }
    }
    moved
}

pub(crate) fn errno() -> i32 {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set_errno(value: i32) {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() = value };
}
