//! The layering law, from `cargo metadata`: base < {slab, slubq, slob, zalloc} < global < malloc, siblings never import each other, and
//! the product stands on few crates of others.

use serde_json::Value;
use std::process::Command;

/// Layers of the product, from below. A crate depends on lower layers only.
const LAYERS: &[&[&str]] = &[&["kmem-base"], &["kmem-slab", "kmem-slubq", "kmem-slob", "kmem-zalloc"], &["kmem"], &["kmem-malloc"]];
/// Crates that are no part of the product.
const TOOLS: &[&str] = &["kmem-testkit", "kmem-bench", "kmem-bench-core", "kmem-cli"];
/// What the product may use of others.
const OTHERS: &[&str] = &["libc", "memmap2", "crossbeam-utils"];

/// One line of a `[dependencies]` table.
struct Dependency<'a> {
    name: &'a str,
    /// "normal", "dev" or "build".
    kind: &'a str,
    optional: bool,
    /// `cfg(...)`, or nothing.
    target: &'a str,
    default_features: bool,
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest])
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn packages(metadata: &Value) -> impl Iterator<Item = (&str, &Value)> {
    metadata["packages"].as_array().unwrap().iter().map(|package| (package["name"].as_str().unwrap(), package))
}

fn dependencies(package: &Value) -> impl Iterator<Item = Dependency<'_>> {
    package["dependencies"].as_array().unwrap().iter().map(|dependency| Dependency {
        name: dependency["name"].as_str().unwrap(),
        kind: dependency["kind"].as_str().unwrap_or("normal"),
        optional: dependency["optional"].as_bool().unwrap(),
        target: dependency["target"].as_str().unwrap_or(""),
        default_features: dependency["uses_default_features"].as_bool().unwrap(),
    })
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// Why a crate of the product may not have this dependency.
fn offence(name: &str, dependency: &Dependency<'_>) -> Option<&'static str> {
    let own = layer(name).unwrap();
    match (layer(dependency.name), dependency.kind) {
        (_, "build") => Some("the product is built without build scripts"),
        // A crate's tests may turn on its own features; otherwise they keep to the law, too.
        (Some(_), "dev") if dependency.name == name => None,
        (Some(other), _) if other >= own => Some("is not below it"),
        (_, "normal") if name == "kmem-slob" && dependency.name != "kmem-base" => Some("slob needs only base"),
        (_, "normal") if name == "kmem-slob" && dependency.default_features => Some("slob needs only base's plain part"),
        (Some(_), _) | (None, "dev") => None,
        (None, _) if OTHERS.contains(&dependency.name) => None,
        (None, _) if dependency.name == "loom" && dependency.target == "cfg(loom)" => None,
        (None, _) if dependency.name == "allocator-api2" && name == "kmem" && dependency.optional => None,
        (None, _) if dependency.name == "lz4_flex" && name == "kmem-zalloc" => None,
        (None, _) if dependency.name == "zstd-safe" && name == "kmem-zalloc" && dependency.optional => None,
        (None, _) if TOOLS.contains(&dependency.name) => Some("is for tests only"),
        (None, _) => Some("is not among the crates that the product may use"),
    }
}

#[test]
fn every_package_has_its_place() {
    let metadata = metadata();
    let names: Vec<_> = packages(&metadata).map(|(name, _)| name).collect();
    for name in &names {
        assert!(layer(name).is_some() || TOOLS.contains(name), "{name} is new: give it a layer here");
    }
    for name in ["kmem-base", "kmem-slab", "kmem-slubq", "kmem-slob", "kmem-zalloc", "kmem", "kmem-testkit"] {
        assert!(names.contains(&name), "no {name} among {names:?}");
    }
}

#[test]
fn layers_depend_on_lower_layers_only() {
    let metadata = metadata();
    let mut offences = Vec::new();
    for (name, package) in packages(&metadata).filter(|(name, _)| layer(name).is_some()) {
        let found = dependencies(package).filter_map(|dependency| Some((offence(name, &dependency)?, dependency)));
        offences.extend(found.map(|(why, dependency)| format!("{name} -> {} ({}): {why}", dependency.name, dependency.kind)));
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn the_testkit_is_for_tests() {
    let metadata = metadata();
    for (name, package) in packages(&metadata) {
        let wrong = dependencies(package).any(|dependency| dependency.name == "kmem-testkit" && dependency.kind != "dev");
        assert!(!wrong, "{name} depends on kmem-testkit outside its tests");
    }
}

#[test]
fn the_product_has_no_build_scripts() {
    let metadata = metadata();
    for (name, package) in packages(&metadata).filter(|(name, _)| layer(name).is_some()) {
        let kinds = package["targets"].as_array().unwrap().iter().flat_map(|target| target["kind"].as_array().unwrap());
        assert!(!kinds.into_iter().any(|kind| kind == "custom-build"), "{name} has a build script");
    }
}

#[test]
fn the_law_is_enforced() {
    fn refused(name: &str, dependency: &str, kind: &str) -> bool {
        offence(name, &Dependency { name: dependency, kind, optional: false, target: "", default_features: true }).is_some()
    }
    assert!(refused("kmem-base", "kmem-slubq", "normal") && refused("kmem-slubq", "kmem", "dev"));
    assert!(refused("kmem-slubq", "kmem-slab", "normal") && refused("kmem-zalloc", "kmem-slob", "dev"));
    assert!(refused("kmem", "kmem-malloc", "normal") && refused("kmem", "kmem-testkit", "normal"));
    assert!(refused("kmem-slob", "kmem-base", "normal") && refused("kmem-slob", "libc", "normal"));
    assert!(refused("kmem", "allocator-api2", "normal") && refused("kmem-base", "loom", "normal"));
    assert!(refused("kmem-base", "cc", "build") && refused("kmem", "serde", "normal"));
    assert!(!refused("kmem", "kmem-zalloc", "normal") && !refused("kmem-malloc", "kmem-base", "normal"));
    assert!(refused("kmem-zalloc", "zstd-safe", "normal") && refused("kmem-slubq", "lz4_flex", "normal"));
    assert!(!refused("kmem-slab", "libc", "normal") && !refused("kmem-slab", "proptest", "dev"));
}
