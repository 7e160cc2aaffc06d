//! What the environment says, also to who asks before the C library knows it.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]

use kmem_base::environment::variable;
use kmem_testkit::child::run_ok;
use std::ffi::c_char;
use std::ptr::null;

unsafe extern "C" {
    static mut environ: *const *const c_char;
}

const FIRST: &[(&str, &str)] = &[("KMEM_SOME", "first"), ("KMEM_SOMETHING", "else"), ("KMEM_EMPTY", "")];

#[test]
fn the_first_stack_is_asked_while_the_c_library_knows_no_environment() {
    run_ok("the_first_stack_is_asked_while_the_c_library_knows_no_environment", FIRST, || {
        let known = || [c"KMEM_SOME", c"KMEM_SOMETHING", c"KMEM_EMPTY", c"KMEM_SOM", c"KMEM"].map(variable);
        let expected = [Some(c"first"), Some(c"else"), Some(c""), None, None];
        assert_eq!(known(), expected);
        // SAFETY: a process of its own, in which no other thread looks at the environment meanwhile.
        let before = unsafe { environ };
        // SAFETY: as above.
        unsafe { environ = null() };
        // SAFETY: a C string; as above.
        assert!(unsafe { libc::getenv(c"KMEM_SOME".as_ptr()) }.is_null(), "the C library knows nothing");
        let early = known();
        // SAFETY: as above.
        unsafe { environ = before };
        assert_eq!(early, expected);
        // SAFETY: as above; C strings.
        assert_eq!(unsafe { libc::setenv(c"KMEM_SOME".as_ptr(), c"second".as_ptr(), 1) }, 0);
        assert_eq!(variable(c"KMEM_SOME"), Some(c"second"), "the C library knows better");
        // SAFETY: as above.
        assert_eq!(unsafe { libc::unsetenv(c"KMEM_SOME".as_ptr()) }, 0);
        assert_eq!(variable(c"KMEM_SOME"), None);
    });
}
