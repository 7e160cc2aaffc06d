//! `fork` in a threaded program: every lock is taken before, in rank order, and released after, in parent and child.

use crate::backend::Backend;
use kmem_base::sync::Ordering;

/// Registers the handlers for `B`, once. Called when everything is set up, since registering may allocate, or before anything is. Always
/// true.
#[inline]
pub(crate) fn watch<B: Backend>() -> bool {
    if B::fork_watch().load(Ordering::Relaxed) == 0 {
        register::<B>();
    }
    true
}

#[cold]
fn register<B: Backend>() {
    if B::fork_watch().swap(1, Ordering::Relaxed) == 0 {
        // SAFETY: the handlers do nothing but take and release locks.
        unsafe { libc::pthread_atfork(Some(prepare::<B>), Some(parent::<B>), Some(child::<B>)) };
    }
}

extern "C" fn prepare<B: Backend>() {
    B::prepare_fork();
}

extern "C" fn parent<B: Backend>() {
    // SAFETY: `fork` calls this after `prepare`, in the thread that called it.
    unsafe { B::after_fork(false) };
}

extern "C" fn child<B: Backend>() {
    // SAFETY: as above, in the child's only thread.
    unsafe { B::after_fork(true) };
}
