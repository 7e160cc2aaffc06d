//! `kmem.h`: what the C standard has no name for. The header says what each does.

use crate::heap::{self, class_of};
use crate::summary::statistics;
use crate::text::to_fd;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::fmt::Write;
use core::ptr::null_mut;
use core::slice;
use kmem_base::config::{MAX_SMALL, PAGE_SHIFT};
use kmem_base::knobs::Knob;
use kmem_global::slubq::{Cache, Spec, Tunable, TuneError};
use kmem_global::{CreateError, Flags, Slubq, Stats};

/// `void (*)(void *object, void *context)`.
type Hook = Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>;

/// `struct kmem_cache_spec`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CacheSpec {
    name: *const c_char,
    size: usize,
    align: usize,
    flags: c_uint,
    constructor: Hook,
    destructor: Hook,
    context: *mut c_void,
}

/// `struct kmem_stats`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Statistics {
    used: usize,
    reserved: usize,
    refused: u64,
    queues: usize,
    depots: usize,
    slabs: usize,
    pages: usize,
    metadata: usize,
}

/// The hooks of a cache of C's: the context of the Rust cache is this, in memory of the heap, for as long as the cache lives.
struct Hooks {
    constructor: Hook,
    destructor: Hook,
    context: *mut c_void,
}

unsafe fn construct(object: *mut u8, hooks: *mut ()) {
    // SAFETY: `create` gave the cache its hooks, which outlive it.
    unsafe {
        let hooks = &*hooks.cast::<Hooks>();
        if let Some(hook) = hooks.constructor {
            hook(object.cast(), hooks.context);
        }
    }
}

unsafe fn destruct(object: *mut u8, hooks: *mut ()) {
    // SAFETY: as above.
    unsafe {
        let hooks = &*hooks.cast::<Hooks>();
        if let Some(hook) = hooks.destructor {
            hook(object.cast(), hooks.context);
        }
    }
}

/// Null and errno: `EINVAL`, `ENOMEM`, or `ENOSPC` if there are as many caches as there can be.
///
/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_create(spec: *const CacheSpec) -> *mut c_void {
    heap::prepare();
    // SAFETY: the caller's: a spec whose name is a C string.
    let (spec, name) = unsafe { (&*spec, (*spec).name) };
    // SAFETY: as above.
    let name = if name.is_null() { "cache" } else { unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("cache") };
    let flags = [Flags::HWCACHE_ALIGN, Flags::LOWMEM, Flags::NO_MERGE].into_iter().enumerate();
    let flags = flags.filter(|(bit, _)| spec.flags & 1 << bit != 0).fold(Flags::NONE, |all, (_, flag)| all | flag);
    let mut made = Spec::new(name, spec.size, spec.align.max(1)).with(flags);
    let mut hooks = null_mut::<Hooks>();
    if spec.constructor.is_some() || spec.destructor.is_some() {
        hooks = heap::alloc(size_of::<Hooks>()).cast();
        if hooks.is_null() {
            return null_mut();
        }
        // SAFETY: fresh memory of that size, which is not freed if the cache is made: like its descriptor, it may be looked at late.
        unsafe {
            hooks.write(Hooks { constructor: spec.constructor, destructor: spec.destructor, context: spec.context });
            made = made.constructed(Some(construct), Some(destruct), hooks.cast());
        }
    }
    match Slubq::get().create(&made) {
        Ok(cache) => core::ptr::from_ref(cache).cast_mut().cast(),
        Err(error) => {
            // SAFETY: no cache knows of it; or null.
            unsafe { heap::free(hooks.cast()) };
            heap::set_errno(match error {
                CreateError::Layout => libc::EINVAL,
                CreateError::TooMany => libc::ENOSPC,
                CreateError::NoMemory => libc::ENOMEM,
            });
            null_mut()
        }
    }
}

/// The array of `count` addresses at `at`, which C may give as null if there are none.
///
/// # Safety
/// They are there, and nobody writes them.
unsafe fn given<'a>(at: *const *mut c_void, count: usize) -> &'a [*mut u8] {
    // SAFETY: the caller's.
    if count == 0 { &[] } else { unsafe { slice::from_raw_parts(at.cast(), count) } }
}

/// The same, to be filled.
///
/// # Safety
/// They are there, and the caller's.
unsafe fn room<'a>(at: *mut *mut c_void, count: usize) -> &'a mut [*mut u8] {
    // SAFETY: the caller's.
    if count == 0 { &mut [] } else { unsafe { slice::from_raw_parts_mut(at.cast(), count) } }
}

/// # Safety
/// `cache` came from [`kmem_cache_create`].
unsafe fn cache<'a>(cache: *mut c_void) -> &'a Cache {
    // SAFETY: the caller's; descriptors are never freed.
    unsafe { &*cache.cast_const().cast() }
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_alloc(from: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's.
    let object = Slubq::get().alloc_object(unsafe { cache(from) });
    if object.is_null() { heap::refuse().cast() } else { object.cast() }
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_free(to: *mut c_void, object: *mut c_void) {
    if !object.is_null() {
        // SAFETY: the caller's.
        unsafe { Slubq::get().free_object(cache(to), object.cast()) };
    }
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_alloc_bulk(from: *mut c_void, count: usize, objects: *mut *mut c_void) -> usize {
    // SAFETY: the caller's: room for that many.
    let (cache, objects) = unsafe { (cache(from), room(objects, count)) };
    Slubq::get().alloc_bulk(cache, objects)
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_free_bulk(to: *mut c_void, count: usize, objects: *const *mut c_void) {
    // SAFETY: the caller's: that many, of this cache.
    unsafe { Slubq::get().free_bulk(cache(to), given(objects, count)) };
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_shrink(of: *mut c_void) -> usize {
    // SAFETY: the caller's.
    Slubq::get().shrink(unsafe { cache(of) }) << PAGE_SHIFT
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_destroy(which: *mut c_void) -> usize {
    // SAFETY: the caller's.
    unsafe { Slubq::get().destroy(cache(which)) }.map_or_else(|busy| busy.live, |()| 0)
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_tune(which: *mut c_void, name: *const c_char, value: c_uint) -> c_int {
    // SAFETY: the caller's: a cache and a C string.
    let (cache, name) = unsafe { (cache(which), CStr::from_ptr(name)) };
    match name.to_str().ok().and_then(Tunable::named) {
        None => libc::ENOENT,
        Some(tunable) => match Slubq::get().tune(cache, tunable, value) {
            Ok(()) => 0,
            Err(TuneError::Value) => libc::EINVAL,
            Err(TuneError::Unsupported) => libc::ENOTSUP,
        },
    }
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_free_sized(block: *mut c_void, size: usize) {
    // SAFETY: the caller's: allocated with this size, so that it came from that class or the page supply.
    unsafe {
        if size > MAX_SMALL || block.is_null() || crate::early::size_of(block.cast()).is_some() {
            return heap::free(block.cast());
        }
        Slubq::get().free(class_of(size), block.cast());
    }
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_alloc_bulk(size: usize, count: usize, blocks: *mut *mut c_void) -> usize {
    heap::prepare();
    // SAFETY: the caller's: room for that many.
    let blocks = unsafe { room(blocks, count) };
    if let Some(cache) = Slubq::get().general(class_of(size.min(MAX_SMALL))).filter(|_| size <= MAX_SMALL) {
        return Slubq::get().alloc_bulk(cache, blocks);
    }
    for (filled, block) in blocks.iter_mut().enumerate() {
        *block = heap::alloc(size);
        if block.is_null() {
            return filled;
        }
    }
    count
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_free_bulk(count: usize, blocks: *const *mut c_void) {
    // SAFETY: the caller's: that many blocks, or nulls.
    unsafe { given(blocks, count) }.iter().for_each(|block| unsafe { heap::free(*block) });
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_trim() -> usize {
    kmem_global::trim()
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_stats(place: *mut Statistics) {
    let Stats { pages, retained } = statistics();
    let statistics = Statistics {
        used: pages.used,
        reserved: pages.reserved,
        refused: pages.refused,
        queues: retained.queues,
        depots: retained.depots,
        slabs: retained.slabs,
        pages: retained.pages,
        metadata: retained.metadata,
    };
    // SAFETY: the caller's: where they are to be noted.
    unsafe { place.write(statistics) }
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_slabinfo(fd: c_int) {
    let _cannot_fail = write!(to_fd(fd), "{}", kmem_global::slabinfo());
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_set(setting: *const c_char) -> c_int {
    // SAFETY: the caller's: a C string.
    match unsafe { CStr::from_ptr(setting) }.to_str().map(kmem_global::set) {
        Ok(Ok(())) => 0,
        Ok(Err(kmem_global::Refusal::Unknown)) => libc::ENOENT,
        Ok(Err(kmem_global::Refusal::TooLate)) => libc::EBUSY,
        Ok(Err(kmem_global::Refusal::Value)) | Err(_) => libc::EINVAL,
    }
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_get(name: *const c_char, value: *mut u64) -> c_int {
    // SAFETY: the caller's: a C string.
    let Some(knob) = unsafe { CStr::from_ptr(name) }.to_str().ok().and_then(Knob::named) else {
        return libc::ENOENT;
    };
    // The environment is read at the start.
    if !Slubq::get().ready() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's: where it is to be noted.
    unsafe { value.write(Slubq::get().knobs().get(knob)) };
    0
}

/// # Safety
/// See `kmem.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_check() -> c_int {
    c_int::from(kmem_global::check().is_err())
}

/// # Safety
/// None.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
