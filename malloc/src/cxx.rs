//! C++'s operators new and delete, in every form, without the C++ library.
//!
//! A program may replace the plain forms alone; the others then have to go through its own, as the C++ library's do. So each derived form
//! asks whether the plain one is still this library's. What needs the C++ library (the new handler, and `bad_alloc` to throw) is looked up
//! in the process when memory has run out, and only then.
//!
//! Sizes given to delete are ignored: the page knows, and a program that has always got them wrong should not learn of it here.

use crate::heap::{self, ALIGN};
use crate::image::{Binding, resolved};
use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use kmem_base::fault::{Fault, die};

type Block = *mut c_void;
/// `std::nothrow_t const&`.
type NoThrow = *const c_void;

/// A function of the program, or of the C++ library, if it is loaded: be it for one extension alone, where nobody else sees it.
fn find(name: &CStr) -> Option<*mut c_void> {
    const LIBRARIES: [&CStr; 2] = [c"libstdc++.so.6", c"libc++.so.1"];
    let own = || LIBRARIES.into_iter().find_map(|library| find_in(library, name));
    symbol(libc::RTLD_DEFAULT, name).or_else(own)
}

fn symbol(handle: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a C string, and a handle or one of the special ones.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Loads nothing.
fn find_in(library: &CStr, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a C string.
    let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return None;
    }
    let found = symbol(handle, name);
    // SAFETY: the handle of above; whoever had loaded it still does.
    unsafe { libc::dlclose(handle) };
    found
}

/// What `std::get_new_handler` returns.
fn new_handler() -> Option<unsafe extern "C-unwind" fn()> {
    let get = find(c"_ZSt15get_new_handlerv")?;
    // SAFETY: the C++ library's function of that type; a null function pointer is `None`.
    unsafe { transmute::<*mut c_void, unsafe extern "C" fn() -> Option<unsafe extern "C-unwind" fn()>>(get)() }
}

/// Asks the program's new handler for memory until there is some; throws `bad_alloc` if it has no handler.
#[cold]
#[inline(never)]
unsafe extern "C-unwind" fn exhausted(size: usize, align: usize) -> Block {
    while let Some(handler) = new_handler() {
        // SAFETY: the program's handler, which may throw.
        unsafe { handler() };
        let block = heap::alloc_aligned(align, size);
        if !block.is_null() {
            return block.cast();
        }
    }
    match find(c"_ZSt17__throw_bad_allocv") {
        // SAFETY: the C++ library's function of that type.
        Some(throw) => unsafe { transmute::<*mut c_void, unsafe extern "C-unwind" fn() -> !>(throw)() },
        None => die(Fault::Exhausted, size, "operator new"),
    }
}

#[inline(always)]
unsafe extern "C-unwind" fn new_plain(size: usize) -> Block {
    let block = heap::alloc(size);
    // SAFETY: a size and an alignment.
    if block.is_null() { unsafe { exhausted(size, ALIGN) } } else { block.cast() }
}

#[inline(always)]
unsafe extern "C-unwind" fn new_aligned(size: usize, align: usize) -> Block {
    let block = if align <= ALIGN { heap::alloc(size) } else { heap::alloc_aligned(align, size) };
    // SAFETY: as above.
    if block.is_null() { unsafe { exhausted(size, align) } } else { block.cast() }
}

/// The C++ library's own quiet forms, which call the plain one and catch what that, or the new handler, throws. They do not look at the
/// tag.
macro_rules! quiet_forms_of_the_library {
    ($($name:ident($($argument:ident),+) = $symbol:literal;)+) => {$(
        unsafe fn $name($($argument: usize),+) -> Option<Block> {
            type Quiet = unsafe extern "C-unwind" fn($(quiet_forms_of_the_library!(@ $argument)),+, NoThrow) -> Block;
            let next = symbol(libc::RTLD_NEXT, $symbol)?;
            // SAFETY: the C++ library's function of that type.
            Some(unsafe { transmute::<*mut c_void, Quiet>(next)($($argument),+, core::ptr::null()) })
        }
    )+};
    (@ $argument:ident) => { usize };
}

quiet_forms_of_the_library! {
    library_quiet(size) = c"_ZnwmRKSt9nothrow_t";
    library_quiet_array(size) = c"_ZnamRKSt9nothrow_t";
    library_quiet_aligned(size, align) = c"_ZnwmSt11align_val_tRKSt9nothrow_t";
    library_quiet_array_aligned(size, align) = c"_ZnamSt11align_val_tRKSt9nothrow_t";
}

/// Null, after the new handler, if there is one, had its say.
#[cold]
#[inline(never)]
unsafe fn exhausted_quietly(size: usize, align: usize) -> Block {
    // SAFETY: a size and an alignment.
    let again = || unsafe { if align <= ALIGN { library_quiet(size) } else { library_quiet_aligned(size, align) } };
    new_handler().and_then(|_| again()).unwrap_or(null_mut())
}

/// Exports operators: name, arguments, what it does.
macro_rules! operators {
    ($($(#[doc = $doc:literal])* $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;)+) => {$(
        $(#[doc = $doc])*
        /// # Safety
        /// C++'s.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub unsafe extern "C-unwind" fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: the caller's.
            unsafe { $body }
        }
    )+};
}

// The plain forms.
operators! {
    /// `operator new(size_t)`
    _Znwm(size: usize) -> Block = new_plain(size);
    /// `operator delete(void*)`
    _ZdlPv(block: Block) = heap::free(block.cast());
    /// `operator new(size_t, align_val_t)`
    _ZnwmSt11align_val_t(size: usize, align: usize) -> Block = new_aligned(size, align);
    /// `operator delete(void*, align_val_t)`
    _ZdlPvSt11align_val_t(block: Block, _align: usize) = heap::free(block.cast());
}

// The derived forms, each through the one that C++ derives it from, should the program have replaced that.

type New = unsafe extern "C-unwind" fn(usize) -> Block;
type NewAligned = unsafe extern "C-unwind" fn(usize, usize) -> Block;
type Delete = unsafe extern "C-unwind" fn(Block);
type DeleteAligned = unsafe extern "C-unwind" fn(Block, usize);

/// For each operator that a program may replace: whose it is, and the program's own; `None` if it has none, so that this library's is
/// meant.
macro_rules! replaceable {
    ($($binding:ident, $function:ident = $symbol:ident: $type:ty;)+) => {$(
        static $binding: Binding = Binding::new();

        fn $function() -> Option<$type> {
            if $binding.is_ours(|| resolved!($symbol)) {
                return None;
            }
            let theirs = resolved!($symbol);
            // SAFETY: whoever defines the symbol defines it with this type.
            Some(unsafe { transmute::<usize, $type>(theirs) })
        }
    )+};
}

replaceable! {
    NEW, their_new = _Znwm: New;
    NEW_ARRAY, their_new_array = _Znam: New;
    NEW_ALIGNED, their_new_aligned = _ZnwmSt11align_val_t: NewAligned;
    NEW_ARRAY_ALIGNED, their_new_array_aligned = _ZnamSt11align_val_t: NewAligned;
    DELETE, their_delete = _ZdlPv: Delete;
    DELETE_ARRAY, their_delete_array = _ZdaPv: Delete;
    DELETE_ALIGNED, their_delete_aligned = _ZdlPvSt11align_val_t: DeleteAligned;
    DELETE_ARRAY_ALIGNED, their_delete_array_aligned = _ZdaPvSt11align_val_t: DeleteAligned;
}

#[inline(always)]
unsafe fn new_array(size: usize) -> Block {
    // SAFETY: the caller's.
    unsafe { if NEW.is_known_ours() { new_plain(size) } else { new_array_by(size) } }
}

#[cold]
#[inline(never)]
unsafe fn new_array_by(size: usize) -> Block {
    // SAFETY: the caller's.
    unsafe { their_new().map_or_else(|| new_plain(size), |theirs| theirs(size)) }
}

#[inline(always)]
unsafe fn new_array_aligned(size: usize, align: usize) -> Block {
    // SAFETY: the caller's.
    unsafe { if let Some(theirs) = their_new_aligned() { theirs(size, align) } else { new_aligned(size, align) } }
}

#[inline(always)]
unsafe fn delete_object(block: Block) {
    // SAFETY: the caller's.
    unsafe { if DELETE.is_known_ours() { heap::free(block.cast()) } else { delete_object_by(block) } }
}

#[cold]
#[inline(never)]
unsafe fn delete_object_by(block: Block) {
    // SAFETY: the caller's.
    unsafe { their_delete().map_or_else(|| heap::free(block.cast()), |theirs| theirs(block)) }
}

#[inline(always)]
unsafe fn delete_array(block: Block) {
    // SAFETY: the caller's.
    unsafe { if DELETE_ARRAY.is_known_ours() { delete_object(block) } else { delete_array_by(block) } }
}

#[cold]
#[inline(never)]
unsafe fn delete_array_by(block: Block) {
    // SAFETY: the caller's.
    unsafe { their_delete_array().map_or_else(|| delete_object(block), |theirs| theirs(block)) }
}

#[inline(always)]
unsafe fn delete_aligned(block: Block, align: usize) {
    // SAFETY: the caller's.
    unsafe {
        match their_delete_aligned() {
            Some(theirs) => theirs(block, align),
            None => heap::free(block.cast()),
        }
    }
}

#[inline(always)]
unsafe fn delete_array_aligned(block: Block, align: usize) {
    // SAFETY: the caller's.
    unsafe {
        match their_delete_array_aligned() {
            Some(theirs) => theirs(block, align),
            None => delete_aligned(block, align),
        }
    }
}

/// The form that returns null instead of throwing.
#[inline(always)]
unsafe fn new_quiet(size: usize) -> Block {
    // SAFETY: the caller's.
    unsafe {
        if let Some(theirs) = their_new() {
            return library_quiet(size).unwrap_or_else(|| theirs(size));
        }
        let block = heap::alloc(size);
        if block.is_null() { exhausted_quietly(size, ALIGN) } else { block.cast() }
    }
}

#[inline(always)]
unsafe fn new_array_quiet(size: usize) -> Block {
    // SAFETY: the caller's.
    unsafe {
        match their_new_array() {
            Some(theirs) => library_quiet_array(size).unwrap_or_else(|| theirs(size)),
            None => new_quiet(size),
        }
    }
}

#[inline(always)]
unsafe fn new_quiet_aligned(size: usize, align: usize) -> Block {
    // SAFETY: the caller's.
    unsafe {
        if let Some(theirs) = their_new_aligned() {
            return library_quiet_aligned(size, align).unwrap_or_else(|| theirs(size, align));
        }
        let block = heap::alloc_aligned(align, size);
        if block.is_null() { exhausted_quietly(size, align) } else { block.cast() }
    }
}

#[inline(always)]
unsafe fn new_array_quiet_aligned(size: usize, align: usize) -> Block {
    // SAFETY: the caller's.
    unsafe {
        match their_new_array_aligned() {
            Some(theirs) => library_quiet_array_aligned(size, align).unwrap_or_else(|| theirs(size, align)),
            None => new_quiet_aligned(size, align),
        }
    }
}

operators! {
    /// `operator new[](size_t)`
    _Znam(size: usize) -> Block = new_array(size);
    /// `operator new(size_t, nothrow_t const&)`
    _ZnwmRKSt9nothrow_t(size: usize, _tag: NoThrow) -> Block = new_quiet(size);
    /// `operator new[](size_t, nothrow_t const&)`
    _ZnamRKSt9nothrow_t(size: usize, _tag: NoThrow) -> Block = new_array_quiet(size);
    /// `operator new[](size_t, align_val_t)`
    _ZnamSt11align_val_t(size: usize, align: usize) -> Block = new_array_aligned(size, align);
    /// `operator new(size_t, align_val_t, nothrow_t const&)`
    _ZnwmSt11align_val_tRKSt9nothrow_t(size: usize, align: usize, _tag: NoThrow) -> Block = new_quiet_aligned(size, align);
    /// `operator new[](size_t, align_val_t, nothrow_t const&)`
    _ZnamSt11align_val_tRKSt9nothrow_t(size: usize, align: usize, _tag: NoThrow) -> Block = new_array_quiet_aligned(size, align);

    /// `operator delete[](void*)`
    _ZdaPv(block: Block) = delete_object(block);
    /// `operator delete(void*, size_t)`
    _ZdlPvm(block: Block, _size: usize) = delete_object(block);
    /// `operator delete[](void*, size_t)`
    _ZdaPvm(block: Block, _size: usize) = delete_array(block);
    /// `operator delete(void*, nothrow_t const&)`
    _ZdlPvRKSt9nothrow_t(block: Block, _tag: NoThrow) = delete_object(block);
    /// `operator delete[](void*, nothrow_t const&)`
    _ZdaPvRKSt9nothrow_t(block: Block, _tag: NoThrow) = delete_array(block);
    /// `operator delete[](void*, align_val_t)`
    _ZdaPvSt11align_val_t(block: Block, align: usize) = delete_aligned(block, align);
    /// `operator delete(void*, size_t, align_val_t)`
    _ZdlPvmSt11align_val_t(block: Block, _size: usize, align: usize) = delete_aligned(block, align);
    /// `operator delete[](void*, size_t, align_val_t)`
    _ZdaPvmSt11align_val_t(block: Block, _size: usize, align: usize) = delete_array_aligned(block, align);
    /// `operator delete(void*, align_val_t, nothrow_t const&)`
    _ZdlPvSt11align_val_tRKSt9nothrow_t(block: Block, align: usize, _tag: NoThrow) = delete_aligned(block, align);
    /// `operator delete[](void*, align_val_t, nothrow_t const&)`
    _ZdaPvSt11align_val_tRKSt9nothrow_t(block: Block, align: usize, _tag: NoThrow) = delete_array_aligned(block, align);
}
