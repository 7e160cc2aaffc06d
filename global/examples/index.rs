//! A real program on kmem: an inverted index of every text file under a directory, built by several threads.
//!
//! ```text
//! cargo run --release --example index [DIRECTORY...]
//! ```
//!
//! Without a directory it reads the sources in cargo's registry. `index_system` is the same program on the system's allocator; what
//! they print on standard output is the same, time and memory are on standard error.

mod indexer;

#[global_allocator]
static ALLOCATOR: kmem::Kmem = kmem::Kmem::new();

fn main() -> std::process::ExitCode {
    indexer::main("kmem")
}
