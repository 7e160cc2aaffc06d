//! The three ways to turn knobs, and how to see and give back what the allocator holds.
//!
//! ```text
//! cargo run --example configure
//! KMEM_CONF=percpu:locked,decay_ms:50 cargo run --example configure
//! ```
//!
//! docs/tuning.md lists the knobs.

use kmem::{Kmem, Knob, Slubq};

// 1. In the program. A value that the knob does not accept is a compile error.
#[global_allocator]
static ALLOCATOR: Kmem = Kmem::new().with(Knob::DecayMs, 250).with(Knob::StashKb, 256);

fn show(when: &str) {
    let (stats, mib) = (kmem::stats(), |bytes: usize| bytes as f64 / f64::from(1 << 20));
    println!(
        "{when:<16} in use {:>6.1} MiB; kept: pages {:>6.1}, slabs {:>5.2}, depots {:>5.2}, queues {:>5.2}, metadata {:>5.2} MiB",
        mib(stats.pages.used),
        mib(stats.retained.pages),
        mib(stats.retained.slabs),
        mib(stats.retained.depots),
        mib(stats.retained.queues),
        mib(stats.retained.metadata),
    );
}

fn main() {
    // 2. `KMEM_CONF` in the environment, when the program starts, has the last word over the `static`.
    println!("KMEM_CONF is {:?}", std::env::var("KMEM_CONF").unwrap_or_default());
    // Something has been allocated by now, if nothing was before `main`, so that everything is set up.
    let knobs = Slubq::get().knobs();
    println!("per-CPU queues: {:?}", Slubq::get().mode());
    println!("decay_ms is {}, stash_kb is {}", knobs.get(Knob::DecayMs), knobs.get(Knob::StashKb));

    // 3. At run time, for those that can still be turned.
    for setting in ["decay_ms:100", "limit_mb:512", "stash_kb:64", "decay_ms:soon", "nonesuch:1"] {
        match kmem::set(setting) {
            Ok(()) => println!("{setting}: done"),
            Err(refusal) => println!("{}{setting}", refusal.message()),
        }
    }

    show("at first");
    let mut lines: Vec<String> = (0..400_000).map(|n| format!("line {n} of something that was read from a file")).collect();
    show("400000 strings");
    lines.retain(|line| line.len() % 7 == 0);
    show("most are gone");
    // Left alone, memory goes back by itself after a few `decay_ms`. This does not wait.
    println!("trim gave {} KiB back", kmem::trim() >> 10);
    show("trimmed");

    // The hard limit is a refusal like any other: `try_reserve` tells, `push` would end the program.
    let mut table = Vec::<u64>::new();
    println!(
        "a table of 1 GiB under limit_mb:512: {}",
        if table.try_reserve_exact(1 << 27).is_ok() { "granted" } else { "refused" }
    );
    println!("{} lines left", lines.len());
}
