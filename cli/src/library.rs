//! Where libkmem.so is.

use std::env;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Names the library, if it is nowhere usual.
pub(crate) const VARIABLE: &str = "KMEM_LIBRARY";

const NAME: &str = "libkmem.so";
/// Beside this command, as cargo leaves it, or as packages install it.
const BESIDE: &[&str] = &[".", "../lib", "../lib/x86_64-linux-gnu", "../lib64"];
const SYSTEM: &[&str] = &["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// The library at `given`, or else the first that is found.
pub(crate) fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        let missing = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
        // Absolute, since the program may run elsewhere, and its children do.
        return path.canonicalize().map_err(missing);
    }
    let command = env::current_exe()?;
    let home = command.parent().unwrap_or(Path::new("/"));
    let places = BESIDE.iter().map(|place| home.join(place)).chain(SYSTEM.iter().map(PathBuf::from));
    let found = places.map(|place| place.join(NAME)).find_map(|path| path.canonicalize().ok());
    found.ok_or_else(|| {
        let advice = format!("`cargo build --release -p kmem-malloc` makes it; --library or {VARIABLE} says where else it is");
        Error::new(ErrorKind::NotFound, format!("no {NAME} beside {} or in the system's folders: {advice}", command.display()))
    })
}
