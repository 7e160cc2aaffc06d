//! Runs one input: `cargo run --example replay pages FILE`. `KMEM_TEST_TRACE=1` prints each operation before it is carried out.

fn main() {
    let mut args = std::env::args().skip(1);
    let (target, file) = (args.next().expect("a target"), args.next().expect("a file"));
    let data = std::fs::read(&file).expect("a readable file");
    match target.as_str() {
        "pages" => kmem_fuzz::pages::run(&data),
        "caches" => kmem_fuzz::caches::run(&data),
        "adapter" => kmem_fuzz::adapter::run(&data),
        "conf" => kmem_fuzz::conf::run(&data),
        other => panic!("no target {other}"),
    }
}
