//! The library, built as it is shipped. Also for the tests of what uses it.

use std::path::PathBuf;
use std::process::Command;

/// Cargo says where it put the library; where that is depends on settings that only cargo knows.
pub(crate) fn build() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "kmem-malloc", "--message-format=json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages.split('"').find(|text| text.ends_with("/libkmem.so")).expect("cargo names libkmem.so");
    path.into()
}
