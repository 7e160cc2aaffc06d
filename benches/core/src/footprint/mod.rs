//! `footprint`: slob beside the allocators for small systems.
mod arena;
mod efficiency;
mod peers;
mod speed;

use std::time::Duration;
pub(crate) fn run() {
    let len = std::env::var("LEN").ok().and_then(|l| l.parse().ok()).unwrap_or(16usize) << 20;
    let mut b = arena::Buffer::new(len);
    for p in peers::PEERS {
        if p.is_slow && len > 16 << 20 {
            continue;
        }
        let e = efficiency::measure(p, &mut b, len, 10);
        let v: Vec<_> = [1000, 3000, 10000, 30000]
            .iter()
            .map(|m| format!("{:.1}", speed::actions(p, &mut b, *m, Duration::from_millis(150)) / 1e6))
            .collect();
        println!("{:<25}{:.2} {v:?}", p.name, e * 100.);
    }
}
