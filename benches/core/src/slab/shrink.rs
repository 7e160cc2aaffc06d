//! What a cache keeps resident when it has been shrunk.

use kmem_slab::{Cache, Front, system};

use super::markdown::section;
use super::verdict;
use crate::bench::Scale;
use crate::{Result, rss};

type Thing = [u64; 32];

/// Bytes above those of the slabs that are in use.
const ABOVE: f64 = (64 << 10) as f64;

pub(super) fn report(scale: Scale) -> Result<String> {
    let objects = scale.pick(10_000, 262_144, 262_144);
    let lines = [("arrays", Front::Arrays), ("magazines", Front::Magazines)].map(|(name, front)| line(name, front, objects));
    let lines = lines.into_iter().collect::<Result<Vec<_>>>()?;
    let about = format!(
        "{objects} objects of 256 bytes are allocated and written, all but every thousandth freed, the cache shrunk. `above`: resident \
         set beyond what it was before, less the slabs that are still in use. Target: at most 64 KiB."
    );
    let head = ["", "slabs in use", "their KiB", "resident at the peak, KiB", "after shrink, KiB", "above, KiB", "target"];
    Ok(section("Memory after a shrink", &about, &head, &lines))
}

fn line(name: &str, front: Front, objects: usize) -> Result<Vec<String>> {
    let cache = Cache::builder("shrinking").front(front).plain::<Thing>()?;
    let mut all = Vec::with_capacity(objects);
    // Makes the list and what the first slab needs resident before the first look.
    for _ in 0..2 {
        for _ in 0..objects / 100 {
            all.push(Some(cache.insert([0; 32])?));
        }
        all.clear();
    }
    all.resize_with(objects, || None);
    cache.shrink();
    let before = rss::resident() as f64;
    for slot in &mut all {
        *slot = Some(cache.insert([0; 32])?);
    }
    let peak = rss::resident() as f64 - before;
    all.iter_mut().enumerate().filter(|(index, _)| index % 1000 != 0).for_each(|(_, slot)| *slot = None);
    cache.shrink();
    let after = rss::resident() as f64 - before;
    let slabs = system().cache_info(cache.raw()).slabs();
    let live = (slabs * cache.raw().geometry().bytes()) as f64;
    let kib = |bytes: f64| format!("{:.0}", bytes / 1024.0);
    Ok(vec![
        name.to_owned(),
        slabs.to_string(),
        kib(live),
        kib(peak),
        kib(after),
        kib(after - live),
        verdict(after - live <= ABOVE),
    ])
}
