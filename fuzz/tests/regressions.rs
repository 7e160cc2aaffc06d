//! Every input that was worth keeping, once more, on the stable compiler and without a fuzzer.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// One input at a time: `conf` looks at standard error, `adapter` has one heap.
static TURN: Mutex<()> = Mutex::new(());

fn replay(target: &str, run: fn(&[u8])) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for folder in ["corpus-min", "regressions"] {
        let Ok(files) = fs::read_dir(root.join(folder).join(target)) else { continue };
        let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        for file in files {
            // Shown if the input fails.
            println!("{}", file.display());
            run(&fs::read(&file).expect("a readable file"));
            count += 1;
        }
    }
    assert!(count > 0, "no inputs for {target}");
}

#[test]
fn pages() {
    replay("pages", kmem_fuzz::pages::run);
}

#[test]
fn caches() {
    replay("caches", kmem_fuzz::caches::run);
}

#[test]
fn adapter() {
    replay("adapter", kmem_fuzz::adapter::run);
}

#[test]
fn conf() {
    replay("conf", kmem_fuzz::conf::run);
}

#[test]
fn zspool() {
    replay("zspool", kmem_fuzz::zspool::run);
}

#[test]
fn ztmem() {
    replay("ztmem", kmem_fuzz::ztmem::run);
}

#[test]
fn zcodec() {
    replay("zcodec", kmem_fuzz::zcodec::run);
}

#[test]
fn slab() {
    replay("slab", kmem_fuzz::slab::run);
}

#[test]
fn slabinfo() {
    replay("slabinfo", kmem_fuzz::slabinfo::run);
}

#[test]
fn slob() {
    replay("slob", kmem_fuzz::slob::run);
}
