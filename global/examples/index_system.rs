//! The program of `index.rs` on the system's allocator: for comparison.

mod indexer;

fn main() -> std::process::ExitCode {
    indexer::main("system")
}
