//! The restartable sequences as they are in the executable: the law that they keep, and what becomes of an abort after each of their
//! instructions.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

#[path = "sequences/aborts.rs"]
mod aborts;
#[path = "sequences/drafts.rs"]
mod drafts;
#[path = "sequences/ground.rs"]
mod ground;
#[path = "sequences/image.rs"]
mod image;
#[path = "sequences/lab.rs"]
mod lab;
#[path = "sequences/law.rs"]
mod law;
#[path = "sequences/machine.rs"]
mod machine;
#[path = "sequences/memory.rs"]
mod memory;
#[path = "sequences/rotations.rs"]
mod rotations;
#[path = "sequences/values.rs"]
mod values;

use image::Image;
use kmem::Kmem;
use law::Primitive;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: Kmem = Kmem::new();

/// Those that every executable must have.
const ALL: [Primitive; 6] =
    [Primitive::Pop, Primitive::Push, Primitive::RotatePop, Primitive::RotatePush, Primitive::SwapIf, Primitive::Unchain];

/// Checks every sequence of an executable, and says how many there are of each primitive.
fn judge(path: &Path) -> BTreeMap<Primitive, usize> {
    let image = Image::read(path);
    let mut found = BTreeMap::new();
    for descriptor in &image.descriptors {
        let verdict = law::check(&image, descriptor);
        let primitive = verdict.unwrap_or_else(|what| panic!("{}: {what}\n{descriptor:#x?}", path.display()));
        *found.entry(primitive).or_insert(0) += 1;
    }
    assert_eq!(law::intruder(&image), None, "{}", path.display());
    found
}

/// This executable, and those that `KMEM_ELF` names, relative to the workspace and separated by colons.
#[test]
fn every_sequence_keeps_the_law() {
    let more = std::env::var("KMEM_ELF").unwrap_or_default();
    let mut paths = vec![PathBuf::from("/proc/self/exe")];
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    paths.extend(more.split(':').filter(|path| !path.is_empty()).map(|path| workspace.join(path)));
    for path in paths {
        let found = judge(&path);
        println!("{}: {found:?}", path.display());
        for primitive in ALL {
            assert!(found.get(&primitive).is_some_and(|&count| count > 0), "no {primitive:?} in {}", path.display());
        }
    }
}
