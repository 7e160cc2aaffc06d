//! kmem as the global allocator, and what it says about itself.
//!
//! ```text
//! cargo run --example hello
//! ```

use std::collections::BTreeMap;

// All there is to do: no init call, no feature, nothing at exit.
#[global_allocator]
static ALLOCATOR: kmem::Kmem = kmem::Kmem::new();

fn main() {
    // Everything that the program and its libraries allocate comes from kmem now.
    let text = "the quick brown fox jumps over the lazy dog and the dog sleeps on";
    let mut counts = BTreeMap::new();
    for word in text.split(' ') {
        *counts.entry(word.to_uppercase()).or_insert(0) += 1;
    }
    println!("{counts:?}\n");

    // One line per cache. `kmalloc-64` serves what is 57 to 64 bytes long; a cache appears when it is first used.
    print!("{}", kmem::slabinfo());
}
