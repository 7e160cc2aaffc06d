//! Runs inputs: `cargo run --example replay pages FILE_OR_FOLDER...`. `KMEM_TEST_TRACE=1` prints each operation before it is
//! carried out.

use std::fs;
use std::path::{Path, PathBuf};

fn files(path: &Path) -> Vec<PathBuf> {
    match fs::read_dir(path) {
        Ok(folder) => folder.map(|file| file.expect("a file").path()).collect(),
        Err(_) => vec![path.to_owned()],
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let target = args.next().expect("a target");
    let run = match target.as_str() {
        "pages" => kmem_fuzz::pages::run,
        "caches" => kmem_fuzz::caches::run,
        "adapter" => kmem_fuzz::adapter::run,
        "conf" => kmem_fuzz::conf::run,
        "zspool" => kmem_fuzz::zspool::run,
        "ztmem" => kmem_fuzz::ztmem::run,
        "zcodec" => kmem_fuzz::zcodec::run,
        "slab" => kmem_fuzz::slab::run,
        "slabinfo" => kmem_fuzz::slabinfo::run,
        "slob" => kmem_fuzz::slob::run,
        _ => panic!("no target {target}"),
    };
    for file in args.flat_map(|path| files(Path::new(&path))) {
        println!("{}", file.display());
        run(&fs::read(&file).expect("a readable file"));
    }
}
