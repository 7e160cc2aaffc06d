//! The compressed pool: lengths, forms, limits, and what is no handle.

mod data;

use data::{Rng, mixed, noise, text};
use kmem_zalloc::codec::{AnyCodec, Codec, Lz4};
use kmem_zalloc::pool::{CreateError, Handle, Incompressible, LONGEST, LoadError, Pool, Recompress, Settings, Shape, StoreError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

fn pages() -> Pool {
    Pool::new(Settings::pages()).unwrap()
}

fn load(pool: &Pool, handle: Handle) -> Vec<u8> {
    let mut out = vec![0xEE; handle.len()];
    assert_eq!(pool.load(handle, &mut out), Ok(handle.len()));
    out
}

#[test]
fn buffers_of_every_length_come_back() {
    let pool = Pool::new(Settings::buffers(LONGEST)).unwrap();
    let mut rng = Rng::new(1);
    let lens = (0..300).chain([4000, 4095, 4096, 4097, 8191, 8192, 8193, 50_000, 65_534, 65_535, 65_536, LONGEST - 1, LONGEST]);
    let mut held = Vec::new();
    for len in lens {
        for data in [text(&mut rng, len), noise(&mut rng, len), mixed(&mut rng, len), vec![7; len]] {
            let handle = pool.store(&data).unwrap();
            assert!(handle.len() == len && handle.stored_len() <= len);
            held.push((handle, data));
        }
    }
    for (handle, data) in &held {
        assert!(load(&pool, *handle) == *data, "{handle:?}");
    }
    pool.check().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.held, stats.original_bytes), (held.len(), held.iter().map(|(_, data)| data.len()).sum()));
    assert!(stats.raw > 0 && stats.filled > 300 && stats.stored_bytes < stats.original_bytes);
    for (handle, _) in held {
        pool.remove(handle).unwrap();
        if handle.stored_len() > 0 {
            assert_eq!(pool.remove(handle), Err(LoadError::Stale));
            assert_eq!(pool.load(handle, &mut vec![0; handle.len()]), Err(LoadError::Stale));
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.held, stats.stored_bytes, stats.filled, stats.raw, pool.spool().stats().objects), (0, 0, 0, 0, 0));
}

#[test]
fn a_pool_of_pages_takes_pages_only() {
    let pool = pages();
    for len in [0, 1, 4095, 4097, 8192] {
        assert_eq!(pool.store(&vec![1; len]), Err(StoreError::Length));
    }
    let handle = pool.store(&text(&mut Rng::new(1), 4096)).unwrap();
    assert_eq!(pool.load(handle, &mut [0; 4095]), Err(LoadError::Short));
}

#[test]
fn same_filled_pages_take_no_memory() {
    let pool = pages();
    let mut page = [0; 4096];
    page.as_chunks_mut().0.fill(0xDEAD_BEEF_0BAD_F00D_u64.to_le_bytes());
    let empty = pool.spool().stats();
    let handles: Vec<_> = (0..1000).map(|_| pool.store(&page).unwrap()).collect();
    assert_eq!(pool.stats().filled, 1000);
    assert_eq!(pool.spool().stats(), empty);
    for handle in handles {
        assert_eq!(load(&pool, handle), page);
        pool.remove(handle).unwrap();
    }
    assert_eq!(pool.stats().held, 0);
}

#[test]
fn what_is_stored_at_full_length_is_raw_and_nothing_else_is() {
    let mut rng = Rng::new(3);
    let noisy = noise(&mut rng, 4096);
    let keeping = pages();
    let raw = keeping.store(&noisy).unwrap();
    assert_eq!((raw.stored_len(), keeping.stats().raw), (4096, 1));
    assert_eq!(load(&keeping, raw), noisy);
    let packed = keeping.store(&text(&mut rng, 4096)).unwrap();
    assert!(packed.stored_len() < 4096 * 7 / 8 && keeping.stats().raw == 1);

    let rejecting = Pool::new(Settings { incompressible: Incompressible::Reject, ..Settings::pages() }).unwrap();
    assert_eq!(rejecting.store(&noisy), Err(StoreError::Incompressible));
    assert_eq!((rejecting.stats().refused_incompressible, rejecting.stats().held), (1, 0));
    // The policy is of the store, not of the load: a pool that would refuse it reads it.
    let whatever = Settings { worthwhile: 1, ..Settings::pages() };
    let pool = Pool::new(whatever).unwrap();
    let handle = pool.store(&text(&mut rng, 4096)).unwrap();
    assert_eq!(handle.stored_len(), 4096, "nothing is worthwhile here");
}

#[test]
fn the_mean_is_guarded() {
    let settings = Settings { mean: 625, worthwhile: 875, ..Settings::pages() };
    let pool = Pool::new(settings).unwrap();
    let mut rng = Rng::new(4);
    // The first is more than the mean allows, since there is none yet.
    let bad = |rng: &mut Rng| {
        let mut page = noise(rng, 3200);
        page.resize(4096, 0);
        page
    };
    let first = pool.store(&bad(&mut rng));
    assert!(first.is_ok(), "an empty pool has room in its mean");
    assert_eq!(pool.store(&bad(&mut rng)), Err(StoreError::Mean));
    for _ in 0..50 {
        pool.store(&text(&mut rng, 4096)).unwrap();
    }
    let taken = (0..1000).take_while(|_| pool.store(&bad(&mut rng)).is_ok()).count();
    assert!((1..1000).contains(&taken));
    let stats = pool.stats();
    assert!(stats.stored_bytes <= stats.held * 4096 * 625 / 1000 + 4096, "{stats:?}");
    assert_eq!(stats.refused_mean, 2);
}

#[test]
fn a_full_pool_accepts_again_below_its_threshold() {
    let limit = 1 << 20;
    let pool = Pool::new(Settings { limit, accept: 90, ..Settings::pages() }).unwrap();
    let mut rng = Rng::new(5);
    let mut held = Vec::new();
    let refused = loop {
        match pool.store(&noise(&mut rng, 4096)) {
            Ok(handle) => held.push(handle),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::Limit);
    assert!(held.len() > 200 && pool.spool().stats().resident <= limit);
    // One page less is not enough: a pool that is full now and then would do nothing else.
    pool.remove(held.pop().unwrap()).unwrap();
    pool.spool().trim();
    assert_eq!(pool.store(&noise(&mut rng, 4096)), Err(StoreError::Limit));
    // Same-filled pages need no room.
    assert!(pool.store(&[0; 4096]).is_ok());
    while pool.spool().stats().resident > limit / 10 * 9 {
        pool.remove(held.pop().unwrap()).unwrap();
        pool.spool().trim();
    }
    assert!(pool.store(&noise(&mut rng, 4096)).is_ok());
    assert!(pool.stats().refused_full >= 2 && pool.stats().used_bytes_most >= pool.stats().used_bytes);
    pool.check().unwrap();
}

#[test]
fn any_number_is_a_handle_or_is_none() {
    let pool = Pool::new(Settings::buffers(100_000)).unwrap();
    let mut rng = Rng::new(6);
    let held: Vec<_> = (0..200)
        .map(|n| {
            let data = mixed(&mut rng, n * 37);
            (pool.store(&data).unwrap(), data)
        })
        .collect();
    let mut out = vec![0; 100_000];
    let mut none = 0;
    for round in 0..200_000 {
        let real = held[rng.below(held.len())].0.to_bits();
        let bits = match round % 4 {
            0 => u128::from(rng.next()) << 64 | u128::from(rng.next()),
            1 => real ^ 1 << rng.below(128),
            2 => real ^ 1 << rng.below(128) ^ 1 << rng.below(128),
            // The word of one, the lengths of another.
            _ => real & u128::from(u64::MAX) | held[rng.below(held.len())].0.to_bits() & !u128::from(u64::MAX),
        };
        match Handle::from_bits(bits) {
            None => none += 1,
            // Garbage at worst: never a panic, never a byte beyond.
            Some(handle) => drop(pool.load(handle, &mut out)),
        }
    }
    assert!(none > 1000);
    for (handle, data) in held {
        assert_eq!(load(&pool, handle), data);
    }
    pool.check().unwrap();
}

#[test]
fn any_number_can_be_removed_or_compressed_again() {
    const CODECS: &[&dyn AnyCodec] = &[&Lz4, &Lz4];
    for shape in [Shape::Buffers(20_000), Shape::Pages(4096)] {
        let pool = Pool::new(Settings { shape, codecs: CODECS, ..Settings::pages() }).unwrap();
        let mut rng = Rng::new(6);
        for round in 0..2000 {
            let len = if shape == Shape::Pages(4096) { 4096 } else { rng.below(20_000) };
            let real = pool.store(&mixed(&mut rng, len)).unwrap().to_bits();
            let bits = match round % 3 {
                0 => u128::from(rng.next()) << 64 | u128::from(rng.next()),
                // Other lengths.
                1 => real ^ u128::from(rng.next() & ((1 << 48) - 1)) << 64,
                _ => real ^ 1 << (64 + rng.below(56)),
            };
            if let Some(handle) = Handle::from_bits(bits) {
                pool.recompress([&mut { handle }], Recompress::up_to(1));
                let _ = pool.remove(handle);
            }
            pool.spool().check().unwrap();
            let _ = pool.remove(Handle::from_bits(real).unwrap());
        }
    }
}

#[test]
fn only_the_areas_that_are_used_take_memory() {
    let pool = Pool::new(Settings { workers: 64, ..Settings::buffers(LONGEST) }).unwrap();
    let begun = pool.stats().work_bytes;
    assert!(begun < 64 << 10, "{begun}");
    let data = text(&mut Rng::new(1), 10_000);
    let handle = pool.store(&data).unwrap();
    assert_eq!(load(&pool, handle), data);
    let used = pool.stats().work_bytes;
    assert!(used > begun && used < 128 << 10, "{used}");
    pool.store(&noise(&mut Rng::new(1), LONGEST)).unwrap();
    assert!(pool.stats().work_bytes > LONGEST);
}

/// Stores as it is, and has working memory for one thread only.
#[derive(Debug)]
struct Scarce;

impl Codec for Scarce {
    type Work = ();

    fn name(&self) -> &'static str {
        "scarce"
    }

    fn bound(&self, len: usize) -> usize {
        len
    }

    fn work(&self, _longest: usize) -> Option<()> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        (MADE.fetch_add(1, Ordering::Relaxed) == 0).then_some(())
    }

    fn compress(&self, _work: &mut (), from: &[u8], to: &mut [u8]) -> Option<usize> {
        to[..from.len() / 2].copy_from_slice(&from[..from.len() / 2]);
        Some(from.len() / 2)
    }

    fn decompress(&self, _work: &mut (), from: &[u8], to: &mut [u8]) -> Option<usize> {
        let (head, tail) = to.split_at_mut(from.len());
        head.copy_from_slice(from);
        tail.copy_from_slice(from);
        Some(2 * from.len())
    }
}

#[test]
fn where_other_areas_cannot_begin_threads_share_the_first() {
    const CODECS: &[&dyn AnyCodec] = &[&Scarce];
    let pool = Pool::new(Settings { codecs: CODECS, workers: 8, ..Settings::pages() }).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                let half = noise(&mut Rng::new(seed), 2048);
                let page = [&half[..], &half[..]].concat();
                for _ in 0..100 {
                    let handle = pool.store(&page).unwrap();
                    assert!(handle.stored_len() == 2048 && load(pool, handle) == page);
                }
            });
        }
    });
    assert!(Pool::new(Settings { codecs: CODECS, ..Settings::pages() }).is_err(), "not even one");
    pool.check().unwrap();
}

type Decompress = dyn Fn(&[u8], &mut [u8]) -> Option<usize>;

#[test]
fn arbitrary_bytes_are_decompressed_or_refused() {
    let mut rng = Rng::new(7);
    let codecs: &[&Decompress] = &[
        &|from, to| Lz4.decompress(&mut Lz4.work(8192).unwrap(), from, to),
        #[cfg(feature = "zstd")]
        &|from, to| {
            let codec = kmem_zalloc::codec::Zstd::level(3);
            codec.decompress(&mut codec.work(8192).unwrap(), from, to)
        },
    ];
    let mut work = Lz4.work(8192).unwrap();
    let mut packed = vec![0; Lz4.bound(8192)];
    for round in 0..3000 {
        let len = rng.below(8192);
        let mut bytes = noise(&mut rng, len);
        if round % 2 == 0 {
            // Nearly right: compressed, with a few bytes changed, and cut.
            let data = mixed(&mut rng, len);
            let written = Lz4.compress(&mut work, &data, &mut packed).unwrap();
            bytes = packed[..written].to_vec();
            for _ in 0..rng.below(4) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.next() as u8;
            }
            bytes.truncate(rng.below(bytes.len()) + 1);
        }
        let mut to = vec![0xEE; 4096 + 64];
        for decompress in codecs {
            let written = decompress(&bytes, &mut to[..4096]);
            assert!(written.is_none_or(|written| written <= 4096));
            assert_eq!(to[4096..], [0xEE; 64]);
        }
    }
}

/// A codec that keeps nothing of what it promises.
#[derive(Debug)]
struct Liar;

impl Codec for Liar {
    type Work = ();

    fn name(&self) -> &'static str {
        "liar"
    }

    fn bound(&self, len: usize) -> usize {
        len
    }

    fn work(&self, _longest: usize) -> Option<()> {
        Some(())
    }

    fn compress(&self, _work: &mut (), from: &[u8], _to: &mut [u8]) -> Option<usize> {
        match from[0] % 3 {
            0 => Some(usize::MAX),
            1 => Some(0),
            _ => Some(10),
        }
    }

    fn decompress(&self, _work: &mut (), _from: &[u8], to: &mut [u8]) -> Option<usize> {
        Some(to.len() + usize::from(to.len() > 100))
    }
}

#[test]
fn a_codec_that_lies_harms_nobody_else() {
    const CODECS: &[&dyn AnyCodec] = &[&Liar];
    let pool = Pool::new(Settings { codecs: CODECS, ..Settings::pages() }).unwrap();
    for first in 0..9 {
        let mut page = noise(&mut Rng::new(first), 4096);
        page[0] = first as u8;
        let handle = pool.store(&page).unwrap();
        match pool.load(handle, &mut [0; 4096]) {
            Ok(len) => assert_eq!((len, handle.stored_len()), (4096, 4096)),
            Err(error) => assert_eq!((error, handle.stored_len()), (LoadError::Corrupt, 10)),
        }
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let settings = Settings::pages();
    let all: [Settings; 7] = [
        Settings { shape: Shape::Pages(0), ..settings },
        Settings { shape: Shape::Pages(LONGEST + 1), ..settings },
        Settings { shape: Shape::Buffers(0), ..settings },
        Settings { codecs: &[], ..settings },
        Settings { codecs: &[&Lz4, &Lz4, &Lz4, &Lz4, &Lz4], ..settings },
        Settings { worthwhile: 1001, ..settings },
        Settings { accept: 101, ..settings },
    ];
    for settings in all {
        assert_eq!(Pool::new(settings).map(drop), Err(CreateError::Settings), "{settings:?}");
    }
}

/// LZ4 that pays only from the second time on: a stand-in for a stronger codec.
#[derive(Debug)]
struct Halves;

impl Codec for Halves {
    type Work = <Lz4 as Codec>::Work;

    fn name(&self) -> &'static str {
        "halves"
    }

    fn bound(&self, len: usize) -> usize {
        2 * Lz4.bound(len)
    }

    fn work(&self, longest: usize) -> Option<Self::Work> {
        Lz4.work(longest)
    }

    /// LZ4, and as many bytes again.
    fn compress(&self, work: &mut Self::Work, from: &[u8], to: &mut [u8]) -> Option<usize> {
        Lz4.compress(work, from, to).map(|len| 2 * len)
    }

    fn decompress(&self, work: &mut Self::Work, from: &[u8], to: &mut [u8]) -> Option<usize> {
        Lz4.decompress(work, &from[..from.len() / 2], to)
    }
}

#[test]
fn recompressing_never_grows_anything() {
    const CODECS: &[&dyn AnyCodec] = &[&Halves, &Halves, &Lz4];
    let pool = Pool::new(Settings { codecs: CODECS, worthwhile: 1000, ..Settings::buffers(20_000) }).unwrap();
    let mut rng = Rng::new(8);
    let mut held = HashMap::new();
    for n in 0..500_usize {
        let data = mixed(&mut rng, n * 31 % 20_000);
        held.insert(n, (pool.store(&data).unwrap(), data));
    }
    let before: HashMap<_, _> = held.iter().map(|(n, (handle, _))| (*n, handle.stored_len())).collect();
    // The second is no better than the first: nothing is gained, and it is not tried again.
    let pass =
        |held: &mut HashMap<usize, (Handle, Vec<u8>)>, wish| pool.recompress(held.values_mut().map(|(handle, _)| handle), wish);
    assert_eq!(pass(&mut held, Recompress::up_to(1)).smaller, 0);
    let large = Recompress { above: 3000, ..Recompress::up_to(2) };
    let done = pass(&mut held, large);
    assert!(done.smaller > 10 && done.seen == 500 && done.bytes_after < done.bytes_before);
    let rest = pass(&mut held, Recompress::up_to(9));
    assert!(rest.smaller > 10);
    assert_eq!(pass(&mut held, Recompress::up_to(9)).smaller, 0);
    for (n, (handle, data)) in &held {
        assert!(handle.stored_len() <= before[n] && (handle.level() == 2) == (handle.stored_len() < before[n]));
        assert!(load(&pool, *handle) == *data, "{handle:?}");
    }
    let gained = done.bytes_before - done.bytes_after + rest.bytes_before - rest.bytes_after;
    assert_eq!(pool.stats().recompressed_bytes, gained);
    assert_eq!(pool.stats().stored_bytes, held.values().map(|(handle, _)| handle.stored_len()).sum());
    pool.check().unwrap();
}

#[test]
fn threads_store_and_load_beside_compaction() {
    let pool = Pool::new(Settings { workers: 2, ..Settings::buffers(10_000) }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                let mut held: Vec<(Handle, Vec<u8>)> = Vec::new();
                for _ in 0..3000 {
                    if held.len() > 100 || rng.below(3) == 0 && !held.is_empty() {
                        let (handle, data) = held.swap_remove(rng.below(held.len()));
                        assert!(load(pool, handle) == data);
                        pool.remove(handle).unwrap();
                    } else {
                        let len = rng.below(10_000);
                        let data = mixed(&mut rng, len);
                        held.push((pool.store(&data).unwrap(), data));
                    }
                    if rng.below(50) == 0 {
                        pool.spool().compact(kmem_zalloc::Budget::objects(64));
                    }
                }
            });
        }
    });
    pool.check().unwrap();
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_takes_over_what_lz4_has_left() {
    use kmem_zalloc::codec::Zstd;
    static STRONG: Zstd = Zstd::level(9);
    const CODECS: &[&dyn AnyCodec] = &[&Lz4, &STRONG];
    let pool = Pool::new(Settings { codecs: CODECS, ..Settings::pages() }).unwrap();
    let mut rng = Rng::new(9);
    let data: Vec<_> = (0..100).map(|_| text(&mut rng, 4096)).collect();
    let mut handles: Vec<_> = data.iter().map(|data| pool.store(data).unwrap()).collect();
    let done = pool.recompress(&mut handles, Recompress::up_to(1));
    assert!(done.smaller > 90 && done.bytes_after < done.bytes_before);
    for (handle, data) in handles.iter().zip(&data) {
        assert_eq!(load(&pool, *handle), *data);
    }
    pool.check().unwrap();
}
