//! Caches the pages of real files that are larger than the memory that the cache may have, reads them as programs do, some often and most
//! seldom, and reports how often the cache had them and what that took.
//!
//! `cargo run --release -p kmem-zalloc --example file_pages -- [FOLDER] [MIB]`, by default /usr/lib and a quarter of what it reads.

use kmem_zalloc::CompressedCache;
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// Most bytes of files.
const MOST: u64 = 128 << 20;

/// A file, and the number of its first page.
struct Source {
    file: File,
    first: u64,
}

/// Files below `folder`, until there are enough.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.symlink_metadata() {
            Ok(kind) if kind.is_dir() => collect(&path, found),
            Ok(kind) if kind.is_file() && kind.len() >= PAGE as u64 => found.push(path),
            _ => {}
        }
    }
}

/// Opens files until they have `MOST` bytes, and counts their pages.
fn open(folder: &Path) -> (Vec<Source>, u64) {
    let mut paths = Vec::new();
    collect(folder, &mut paths);
    let (mut sources, mut pages) = (Vec::new(), 0);
    for path in paths {
        if let Ok(file) = File::open(path)
            && let Ok(metadata) = file.metadata()
        {
            sources.push(Source { file, first: pages });
            pages += metadata.len() / PAGE as u64;
        }
        if pages * PAGE as u64 > MOST || sources.len() == 900 {
            break;
        }
    }
    (sources, pages)
}

fn read(sources: &[Source], page: u64, to: &mut [u8]) -> std::io::Result<()> {
    let source = &sources[sources.partition_point(|source| source.first <= page) - 1];
    source.file.read_exact_at(to, (page - source.first) * PAGE as u64)
}

/// Small page numbers more often than large ones, spread over the files: of a hundred reads, eighty are of a fifth of the pages.
fn next(state: &mut u64, pages: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let uniform = (*state >> 33) as f64 / f64::from(1_u32 << 31);
    let rank = (uniform.powf(7.2) * pages as f64) as u64;
    rank.wrapping_mul(2_654_435_761) % pages
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| "/usr/lib".to_owned());
    let (sources, pages) = open(Path::new(&folder));
    if pages == 0 {
        println!("no files of a page or more in {folder}");
        return Ok(());
    }
    let limit = args.next().map_or(Ok(pages as usize * PAGE / 4), |mib| mib.parse::<usize>().map(|mib| mib << 20))?;
    let cache: CompressedCache<u64, [u8]> = CompressedCache::new(limit, PAGE)?;
    let (mut page, mut state, mut errors) = ([0; PAGE], 1, 0);
    let (mut from_cache, mut from_files) = (Duration::ZERO, Duration::ZERO);
    let reads = pages * 8;
    for _ in 0..reads {
        let number = next(&mut state, pages);
        let clock = Instant::now();
        if cache.read(&number, &mut page).is_some() {
            from_cache += clock.elapsed();
        } else if read(&sources, number, &mut page).is_ok() {
            from_files += clock.elapsed();
            cache.insert(&number, &page);
        } else {
            errors += 1;
        }
    }
    let (stats, pool) = (cache.stats(), cache.store().pool().stats());
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    println!("{} files of {:.0} MiB, {reads} reads of a page, {errors} of which failed", sources.len(), mib(pages as usize * PAGE));
    println!(
        "limit {:.1} MiB for compressed pages; {:.1} MiB taken, the index and the codec's memory included",
        mib(limit),
        mib(stats.memory_bytes)
    );
    println!(
        "{} pages of {:.1} MiB held, {} of them same-filled: {:.2} times what they take",
        stats.values,
        mib(stats.value_bytes),
        pool.filled,
        stats.value_bytes as f64 / stats.memory_bytes as f64
    );
    println!(
        "hit rate {:.1} %; without compression the same memory would hold {:.1} % of the pages instead of {:.1} %",
        stats.hit_rate() * 100.0,
        stats.memory_bytes as f64 / (pages as usize * PAGE) as f64 * 100.0,
        stats.value_bytes as f64 / (pages as usize * PAGE) as f64 * 100.0
    );
    let each = |time: Duration, count: u64| time.as_secs_f64() * 1e6 / (count as f64).max(1.0);
    println!(
        "a hit takes {:.1} us, a read of a file {:.1} us (from the system's cache)",
        each(from_cache, stats.hits),
        each(from_files, stats.misses)
    );
    println!("{} evicted, {} refused", stats.evicted, stats.refused);
    cache.store().check()?;
    Ok(())
}
