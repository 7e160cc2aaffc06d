//! Bodies run in processes of their own.
#![cfg(not(miri))]

use kmem_testkit::child::{self, Child};
use std::env;
use std::panic::catch_unwind;
use std::process::abort;

/// The panic message of `call`, in the parent; children of it end in `call`.
fn complaint(call: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = catch_unwind(call).expect_err("the call must panic");
    payload.downcast_ref::<String>().expect("a text").clone()
}

/// Whether this process is a child, which skips what only parents can check.
fn in_child() -> bool {
    env::var_os("KMEM_TEST_CHILD").is_some()
}

#[test]
fn aborts_are_expected() {
    let die = || {
        eprintln!("kmem: double free of {:#x}", 0x7f00);
        abort();
    };
    child::expect_abort("aborts_are_expected", "kmem: double free of 0x7f00", die);
    child::expect_abort("aborts_are_expected", "kmem: double free of 0x*", die);
}

#[test]
fn environment_is_passed_on() {
    child::run_ok("environment_is_passed_on", &[("KMEM_TESTKIT_PROBE", "yes")], || {
        assert_eq!(env::var("KMEM_TESTKIT_PROBE").as_deref(), Ok("yes"));
    });
    assert!(in_child() || env::var_os("KMEM_TESTKIT_PROBE").is_none());
}

#[test]
fn address_space_is_limited() {
    let child = Child::new("address_space_is_limited").address_space(1 << 30);
    child.expect_ok(|| {
        assert!(Vec::<u8>::new().try_reserve_exact(2 << 30).is_err());
    });
}

#[test]
fn wrong_line_is_told() {
    let call = || child::expect_abort("wrong_line_is_told", "one line", || abort());
    if in_child() {
        return call();
    }
    assert!(complaint(call).starts_with("no line on stderr matches \"one line\""));
}

#[test]
fn missing_abort_is_told() {
    let call = || child::expect_abort("missing_abort_is_told", "*", || ());
    if in_child() {
        return call();
    }
    assert!(complaint(call).starts_with("the child did not abort"));
}

#[test]
fn panic_is_told() {
    let call = || child::run_ok("panic_is_told", &[], || panic!("in the body"));
    if in_child() {
        return call();
    }
    let text = complaint(call);
    assert!(text.starts_with("the child did not succeed") && text.contains("in the body"));
}

#[test]
fn hang_is_told() {
    let call = || {
        let child = Child::new("hang_is_told").timeout(1);
        child.expect_ok(std::thread::park);
    };
    if in_child() {
        return call();
    }
    assert!(complaint(call).starts_with("the child did not succeed: signal: 14"));
}

#[test]
fn wrong_name_is_told() {
    let call = || child::run_ok("no_such_test", &[], || ());
    assert!(complaint(call).starts_with("no call at "));
}
