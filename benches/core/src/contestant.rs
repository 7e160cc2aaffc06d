//! The contestants: which allocator of the program, under which environment, and what is known of its version.

use std::collections::BTreeMap;
use std::ffi::CStr;

use crate::Result;

/// An environment variable and its value.
pub type Setting = (&'static str, &'static str);

/// One competitor: an allocator and the environment that its child gets.
#[derive(Debug)]
pub struct Contestant {
    /// Name in `--alloc`, in the table and in the JSON file.
    pub name: &'static str,
    /// Name of the allocator in the program's [`switch!`](crate::switch!).
    pub allocator: &'static CStr,
    /// Settings of its own.
    pub env: &'static [Setting],
    /// Whether it runs when `--alloc` is not given.
    pub by_default: bool,
    /// Version of the allocator, as far as it is known.
    pub version: fn() -> String,
}

/// What a benchmark program consists of besides its global allocator.
#[derive(Debug)]
pub struct Program {
    /// In the order in which they take turns.
    pub contestants: &'static [Contestant],
    /// Environment of every child, behind which a contestant's own settings come.
    pub common: &'static [Setting],
}

/// kmem as it is.
pub const KMEM: Contestant = Contestant { name: "kmem", allocator: c"kmem", env: &[], by_default: true, version: kmem_version };

/// kmem without restartable sequences: only if asked for.
pub const KMEM_LOCKED: Contestant =
    Contestant { name: "kmem-locked", env: &[("KMEM_CONF", "percpu:locked")], by_default: false, ..KMEM };

/// kmem over object caches after Bonwick and Linux: only if asked for.
pub const KMEM_SLAB: Contestant = Contestant { name: "kmem-slab", allocator: c"slab", by_default: false, ..KMEM };

/// The same behind magazines instead of array caches.
pub const KMEM_MAGAZINES: Contestant = Contestant { name: "kmem-magazines", env: &[("KMEM_CONF", "front:magazines")], ..KMEM_SLAB };

/// kmem over one heap without size classes or queues, for small systems: only if asked for.
pub const KMEM_SLOB: Contestant = Contestant { name: "kmem-slob", allocator: c"slob", by_default: false, ..KMEM };

/// The same with the book of marks.
pub const KMEM_MARKED: Contestant = Contestant { name: "kmem-slob-marks", allocator: c"slob-marks", ..KMEM_SLOB };

/// The C library's malloc, which is Rust's default.
pub const GLIBC: Contestant = Contestant { name: "glibc", allocator: c"glibc", env: &[], by_default: true, version: glibc_version };

fn kmem_version() -> String {
    // The workspace has one version.
    env!("CARGO_PKG_VERSION").to_owned()
}

fn glibc_version() -> String {
    // SAFETY: returns a static NUL-terminated string.
    unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned()
}

/// Whether a contestant's name is one of kmem's: such a one is no rival of kmem.
pub(crate) fn is_kmem(name: &str) -> bool {
    name == "kmem" || name.starts_with("kmem-")
}

impl Program {
    /// The contestants of a run: those named, in that order, or the default set.
    pub(crate) fn select(&self, names: &[String]) -> Result<Vec<&'static Contestant>> {
        if names.is_empty() {
            return Ok(self.contestants.iter().filter(|contestant| contestant.by_default).collect());
        }
        names.iter().map(|name| self.find(name)).collect()
    }

    fn find(&self, name: &str) -> Result<&'static Contestant> {
        self.contestants.iter().find(|contestant| contestant.name == name).ok_or_else(|| {
            let known: Vec<_> = self.contestants.iter().map(|contestant| contestant.name).collect();
            format!("no contestant '{name}' in this build; there are {}", known.join(", ")).into()
        })
    }
}

/// Versions of the allocators that take part.
pub(crate) fn versions(contestants: &[&Contestant]) -> String {
    let mut versions = BTreeMap::new();
    for contestant in contestants {
        versions.entry(contestant.allocator).or_insert_with(|| (contestant.version)());
    }
    let one = |(name, version): (&CStr, String)| format!("{} {version}", name.to_string_lossy());
    versions.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The contestants with settings of their own, and those settings.
pub(crate) fn settings(contestants: &[&Contestant]) -> String {
    let one = |contestant: &&Contestant| {
        let env: Vec<_> = contestant.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} {}", contestant.name, env.join(" "))
    };
    let special: Vec<_> = contestants.iter().filter(|contestant| !contestant.env.is_empty()).map(one).collect();
    if special.is_empty() { "defaults".to_owned() } else { format!("{}; others: defaults", special.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PROGRAM: Program = Program { contestants: &[KMEM, KMEM_LOCKED, GLIBC], common: &[] };

    #[test]
    fn the_default_set_has_no_opt_in() {
        let chosen = PROGRAM.select(&[]).unwrap();
        assert_eq!(chosen.iter().map(|c| c.name).collect::<Vec<_>>(), ["kmem", "glibc"]);
    }

    #[test]
    fn named_ones_keep_their_order() {
        let chosen = PROGRAM.select(&["glibc".into(), "kmem-locked".into()]).unwrap();
        assert_eq!(chosen.iter().map(|c| c.name).collect::<Vec<_>>(), ["glibc", "kmem-locked"]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = PROGRAM.select(&["hoard".into()]).unwrap_err().to_string();
        assert!(error.contains("hoard") && error.contains("kmem, kmem-locked, glibc"));
    }

    #[test]
    fn settings_name_who_has_them() {
        assert_eq!(settings(&[&KMEM, &KMEM_LOCKED]), "kmem-locked KMEM_CONF=percpu:locked; others: defaults");
        assert_eq!(settings(&[&KMEM]), "defaults");
    }

    #[test]
    fn an_allocator_shows_its_version_once() {
        let versions = versions(&[&KMEM, &KMEM_LOCKED, &GLIBC]);
        assert!(versions.starts_with("glibc 2.") && versions.contains(", kmem "));
        assert_eq!(versions.matches(", ").count(), 1);
    }
}
