//! The keyed store: its contract, and random operations beside a map. `KMEM_ZALLOC_OPS=100000000` does as many of them.

mod data;
#[path = "data/model.rs"]
mod model;

use data::{Rng, noise, text};
use kmem_zalloc::pool::{Incompressible, Settings, StoreError};
use kmem_zalloc::tmem::{GetError, Lifetime, Oid, PoolError, PutError, Sharing, Tmem, Uuid};
use model::{Disk, Model, decode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const A: Oid = Oid([1, 2, 3]);
const B: Oid = Oid([1, 2, 4]);

fn small() -> Tmem {
    Tmem::builder(Settings::pages()).build().unwrap()
}

fn page(seed: u64) -> Vec<u8> {
    text(&mut Rng::new(seed), 4096)
}

fn get(store: &Tmem, pool: kmem_zalloc::tmem::PoolId, oid: Oid, index: u32) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    store.get_vec(pool, oid, index, &mut out).unwrap().map(|len| {
        assert_eq!(len, out.len());
        out
    })
}

#[test]
fn private_ephemeral_gets_take_the_page_away_and_others_do_not() {
    let store = small();
    for (lifetime, sharing, gone) in [
        (Lifetime::Ephemeral, Sharing::Private, true),
        (Lifetime::Ephemeral, Sharing::Shared(Uuid([1, 2])), false),
        (Lifetime::Persistent, Sharing::Private, false),
        (Lifetime::Persistent, Sharing::Shared(Uuid([1, 3])), false),
    ] {
        let pool = store.create(lifetime, sharing).unwrap();
        store.put(pool, A, 0, &page(1)).unwrap();
        assert_eq!(get(&store, pool, A, 0), Some(page(1)));
        assert_eq!(get(&store, pool, A, 0).is_none(), gone);
        store.check().unwrap();
    }
}

#[test]
fn a_get_into_too_small_a_buffer_takes_nothing_away() {
    let store = small();
    let pool = store.create(Lifetime::Ephemeral, Sharing::Private).unwrap();
    store.put(pool, A, 0, &page(1)).unwrap();
    assert_eq!(store.get(pool, A, 0, &mut [0; 100]), Err(GetError::Short));
    assert_eq!(get(&store, pool, A, 0), Some(page(1)));
}

#[test]
fn a_put_that_fails_leaves_no_old_copy() {
    let settings = Settings { incompressible: Incompressible::Reject, ..Settings::pages() };
    let store = Tmem::builder(settings).build().unwrap();
    for lifetime in [Lifetime::Ephemeral, Lifetime::Persistent] {
        let pool = store.create(lifetime, Sharing::Shared(Uuid([lifetime as u64, 9]))).unwrap();
        store.put(pool, A, 0, &page(1)).unwrap();
        store.put(pool, A, 1, &page(2)).unwrap();
        let refused = store.put(pool, A, 0, &noise(&mut Rng::new(1), 4096));
        assert_eq!(refused, Err(PutError::Store(StoreError::Incompressible)));
        assert_eq!(get(&store, pool, A, 0), None);
        assert_eq!(get(&store, pool, A, 1), Some(page(2)), "others are not concerned");
        assert_eq!(store.put(pool, A, 1, &[1; 17]), Err(PutError::Store(StoreError::Length)));
        assert_eq!(get(&store, pool, A, 1), None);
    }
    assert_eq!(store.stats().refused, 4);
    store.check().unwrap();
}

#[test]
fn flushes_take_what_they_name() {
    let store = small();
    let pool = store.create(Lifetime::Persistent, Sharing::Private).unwrap();
    let other = store.create(Lifetime::Persistent, Sharing::Private).unwrap();
    for index in 0..100 {
        for (pool, oid) in [(pool, A), (pool, B), (other, A)] {
            store.put(pool, oid, index, &page(index.into())).unwrap();
        }
    }
    assert!(store.flush_page(pool, A, 7) && !store.flush_page(pool, A, 7));
    assert_eq!((store.flush_object(pool, A), store.flush_object(pool, A)), (99, 0));
    assert_eq!(get(&store, pool, B, 7), Some(page(7)));
    assert_eq!((store.destroy(pool), store.destroy(pool)), (Some(100), None));
    assert_eq!(store.get(pool, B, 7, &mut [0; 4096]), Err(GetError::NoPool));
    assert_eq!(store.put(pool, B, 7, &page(7)), Err(PutError::NoPool));
    assert_eq!(get(&store, other, A, 7), Some(page(7)));
    assert_eq!((store.stats().pages, store.pool().stats().held), (100, 100));
    store.check().unwrap();
}

#[test]
fn shared_pools_end_with_their_last_user() {
    let store = small();
    let name = Sharing::Shared(Uuid([5, 5]));
    let one = store.create(Lifetime::Persistent, name).unwrap();
    let two = store.create(Lifetime::Persistent, name).unwrap();
    assert_eq!(one, two);
    assert_eq!(store.create(Lifetime::Ephemeral, name), Err(PoolError::Name));
    assert_eq!(store.create(Lifetime::Ephemeral, Sharing::Shared(Uuid([0, 0]))), Err(PoolError::Name));
    store.put(one, A, 0, &page(1)).unwrap();
    assert_eq!(store.destroy(one), Some(0));
    assert_eq!(get(&store, two, A, 0), Some(page(1)));
    assert_eq!(store.destroy(two), Some(1));
    let three = store.create(Lifetime::Ephemeral, name).unwrap();
    assert_ne!(three, one);
    assert_eq!(get(&store, three, A, 0), None);
}

#[test]
fn there_are_only_so_many_pools() {
    let store = small();
    let pools: Vec<_> =
        (0..kmem_zalloc::tmem::MOST_POOLS).map(|_| store.create(Lifetime::Ephemeral, Sharing::Private).unwrap()).collect();
    assert_eq!(store.create(Lifetime::Ephemeral, Sharing::Private), Err(PoolError::TooMany));
    store.destroy(pools[17]).unwrap();
    assert!(store.create(Lifetime::Ephemeral, Sharing::Private).is_ok());
}

#[test]
fn the_least_recently_used_ephemeral_pages_go_first() {
    let limit = 256 << 10;
    let store = Tmem::builder(Settings { limit, ..Settings::pages() }).shards(1).build().unwrap();
    let pool = store.create(Lifetime::Ephemeral, Sharing::Shared(Uuid([1, 1]))).unwrap();
    let kept = store.create(Lifetime::Persistent, Sharing::Private).unwrap();
    store.put(kept, A, 0, &page(0)).unwrap();
    let mut rng = Rng::new(1);
    let mut put = |index| store.put(pool, A, index, &noise(&mut rng, 4096));
    (0..40).for_each(|index| put(index).unwrap());
    assert_eq!(store.stats().evicted, 0);
    // Page 0 is used all the time, so that others go.
    for index in 40..400 {
        assert!(get(&store, pool, A, 0).is_some(), "{index}");
        put(index).unwrap();
        let survivors: Vec<_> = (1..=index).filter(|index| present(&store, pool, *index)).collect();
        let first = survivors[0];
        assert!(survivors.iter().copied().eq(first..=index), "the oldest go first");
    }
    assert!(store.stats().evicted > 300);
    assert_eq!(get(&store, kept, A, 0), Some(page(0)), "persistent pages stay");
    assert!(store.pool().spool().stats().resident <= limit);
    store.check().unwrap();
}

/// Whether a page is there, without using it: a get of too small a buffer.
fn present(store: &Tmem, pool: kmem_zalloc::tmem::PoolId, index: u32) -> bool {
    store.get(pool, A, index, &mut []) == Err(GetError::Short)
}

#[test]
fn a_full_store_of_persistent_pages_refuses_and_keeps_its_promises() {
    let store = Tmem::builder(Settings { limit: 256 << 10, ..Settings::pages() }).build().unwrap();
    let pool = store.create(Lifetime::Persistent, Sharing::Private).unwrap();
    let mut rng = Rng::new(2);
    let data: Vec<_> = (0..200).map(|_| noise(&mut rng, 4096)).collect();
    let accepted: Vec<_> = data.iter().zip(0..).map(|(data, index)| store.put(pool, A, index, data).is_ok()).collect();
    let count = accepted.iter().filter(|accepted| **accepted).count();
    assert!((40..100).contains(&count), "{count}");
    for ((data, index), accepted) in data.iter().zip(0..).zip(accepted) {
        assert_eq!(get(&store, pool, A, index), accepted.then(|| data.clone()));
    }
    store.check().unwrap();
}

/// Operations of a test: by default so many.
fn operations(default: u64) -> u64 {
    std::env::var("KMEM_ZALLOC_OPS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_operations_agree_with_a_map() {
    let total = operations(200_000);
    for (seed, limit, file) in
        [(1, usize::MAX, None), (2, 192 << 10, None), (3, 192 << 10, Some(128 << 10)), (4, 160 << 10, Some(8 << 20))]
    {
        let disk = file.map(|bytes| (Disk::default(), bytes));
        let mut model = Model::new(Arc::new(model::store(limit, disk)), 0);
        let mut rng = Rng::new(seed);
        for _ in 0..total / 4 {
            model.apply(decode(rng.next()));
        }
        model.compare_all();
        model.store.check().unwrap();
        let stats = model.store.stats();
        println!("seed {seed}: {} hits, {} misses, {} refused, {stats:?}", model.hits, model.misses, model.refused);
        assert!(model.hits > total / 80);
        if limit < usize::MAX {
            assert!(stats.evicted > total / 1000);
        }
        if file.is_some() {
            assert!(stats.written > total / 4000 && stats.hits_in_file > total / 4000);
        }
    }
}

#[test]
fn threads_agree_with_their_maps() {
    let total = operations(80_000);
    let store = Arc::new(model::store(512 << 10, Some((Disk::default(), 4 << 20))));
    let threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let store = store.clone();
            scope.spawn(move || {
                let mut model = Model::new(store, thread + 1);
                let mut rng = Rng::new(thread + 10);
                for _ in 0..total / threads {
                    match decode(rng.next()) {
                        // Both want nobody else, or are everybody's.
                        model::Op::Check => {}
                        model::Op::Renew { pool } if pool % 2 == 1 => {}
                        op => model.apply(op),
                    }
                }
                model.compare_all();
            });
        }
    });
    store.check().unwrap();
}

/// One writer of each page, whose contents say how often it was put; readers must never see what was replaced, or flushed, before they
/// asked.
#[test]
fn nobody_reads_what_was_replaced_or_flushed_before() {
    const PAGES: usize = 16;
    let total = operations(60_000);
    let store = model::store(160 << 10, Some((Disk::default(), 1 << 20)));
    let pool = store.create(Lifetime::Persistent, Sharing::Shared(Uuid([7, 7]))).unwrap();
    // The last version of each page known to be there; odd while it is being changed.
    let floor: Vec<AtomicU64> = (0..PAGES).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);
    let stamp = |version: u64, index: usize| -> Vec<u8> {
        (0..60_u64).flat_map(|n| (version ^ ((n / 4) << 48) ^ ((index as u64) << 56)).to_le_bytes()).collect()
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (store, floor) = (&store, &floor);
                scope.spawn(move || {
                    let mut rng = Rng::new(writer as u64 + 50);
                    for version in 1..=total / 2 {
                        let index = rng.below(PAGES / 2) * 2 + writer;
                        let (oid, at) = (Oid([index as u64 / 4, 0, 0]), index as u32);
                        if rng.below(4) == 0 {
                            assert!(
                                store.flush_page(pool, oid, at)
                                    == (floor[index].load(Ordering::SeqCst) & 1 == 0 && floor[index].load(Ordering::SeqCst) > 0)
                            );
                            floor[index].store(version * 2 + 1, Ordering::SeqCst);
                        } else {
                            store.put(pool, oid, at, &stamp(version, index)).unwrap();
                            floor[index].store(version * 2, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        for reader in 0..2 {
            let (store, floor, done) = (&store, &floor, &done);
            scope.spawn(move || {
                let (mut rng, mut out, mut hits) = (Rng::new(reader + 80), vec![0; 700], 0);
                while !done.load(Ordering::SeqCst) {
                    let index = rng.below(PAGES);
                    let least = floor[index].load(Ordering::SeqCst);
                    let Some(len) = store.get(pool, Oid([index as u64 / 4, 0, 0]), index as u32, &mut out).unwrap() else {
                        continue;
                    };
                    let version = u64::from_le_bytes(out[..8].try_into().unwrap()) & ((1 << 40) - 1);
                    assert!(out[..len] == stamp(version, index), "torn");
                    assert!(version * 2 >= least & !1 && version * 2 + 1 != least, "page {index}: {version} after {least}");
                    hits += 1;
                }
                assert!(hits > 0);
            });
        }
        let (store, done_too) = (&store, &done);
        scope.spawn(move || {
            while !done_too.load(Ordering::SeqCst) {
                store.writeback(4);
                store.pool().spool().compact(kmem_zalloc::Budget::objects(32));
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::SeqCst);
    });
    assert!(store.stats().hits_in_file > 0);
    store.check().unwrap();
}
