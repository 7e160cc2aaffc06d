//! Threads that insert, read, write and free at once, while others compact, punch and trim. Every object says who it is, and how often
//! it was written; readers check that it is so in every byte.

use kmem_zalloc::{Budget, Handle, HandleError, Zspool};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

/// `KMEM_STORM` times as long.
fn scale() -> usize {
    std::env::var("KMEM_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }
}

/// Objects that all threads share: a handle, and the byte that fills the object.
struct Shared {
    pool: Zspool,
    objects: Mutex<Vec<(Handle, u8)>>,
    checked: AtomicUsize,
}

impl Shared {
    fn pick(&self, random: &mut Random) -> Option<(Handle, u8)> {
        let objects = self.objects.lock().unwrap();
        (!objects.is_empty()).then(|| objects[random.below(objects.len())])
    }

    fn take(&self, random: &mut Random) -> Option<(Handle, u8)> {
        let mut objects = self.objects.lock().unwrap();
        (!objects.is_empty()).then(|| random.below(objects.len())).map(|at| objects.swap_remove(at))
    }

    /// An object's bytes are all one, whichever: writers replace all of them at once.
    fn read(&self, handle: Handle) -> Option<u8> {
        match self.pool.read(handle) {
            Ok(guard) => {
                let first = guard[0];
                assert!(guard.iter().all(|byte| *byte == first), "torn");
                thread::yield_now();
                assert!(guard.iter().all(|byte| *byte == first), "changed under a guard");
                self.checked.fetch_add(1, Relaxed);
                Some(first)
            }
            Err(error) => {
                assert_eq!(error, HandleError::Stale);
                None
            }
        }
    }

    fn turn(&self, random: &mut Random, most: usize) {
        match random.below(10) {
            0..4 if self.objects.lock().unwrap().len() < most => {
                let byte = random.below(256) as u8;
                let size = [1 + random.below(4096), 2048, 1500, 4096][random.below(4)];
                let handle = self.pool.insert(&[byte; 4096][..size]).unwrap();
                self.objects.lock().unwrap().push((handle, byte));
            }
            0..5 => {
                if let Some((handle, _)) = self.take(random) {
                    // Nobody else frees it; whoever reads it now may have it until later.
                    assert!(self.read(handle).is_some());
                    self.pool.free(handle).unwrap();
                    assert_eq!(self.pool.free(handle), Err(HandleError::Stale));
                }
            }
            5 => {
                if let Some((handle, _)) = self.pick(random) {
                    let bytes = [random.below(256) as u8; 4096];
                    if let Ok(size) = self.pool.size(handle) {
                        let written = self.pool.write(handle, &bytes[..size]);
                        assert!(matches!(written, Ok(()) | Err(HandleError::Pinned | HandleError::Stale)));
                    }
                }
            }
            _ => {
                if let Some((handle, _)) = self.pick(random) {
                    self.read(handle);
                }
            }
        }
    }
}

fn storm(pool: Zspool, threads: usize, most: usize, turns: usize) {
    let shared = Shared { pool, objects: Mutex::new(Vec::new()), checked: AtomicUsize::new(0) };
    let done = AtomicBool::new(false);
    let moved = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..2_usize {
            let (shared, done, moved) = (&shared, &done, &moved);
            scope.spawn(move || {
                let mut round = number;
                while !done.load(Relaxed) {
                    moved.fetch_add(shared.pool.compact(Budget::objects(64)).moved, Relaxed);
                    round += 1;
                    match round % 16 {
                        0 => drop(shared.pool.punch()),
                        8 => drop(shared.pool.trim()),
                        _ => thread::yield_now(),
                    }
                }
            });
        }
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let shared = &shared;
                scope.spawn(move || {
                    let mut random = Random(number as u64 * 77 + 5);
                    (0..turns).for_each(|_| shared.turn(&mut random, most));
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    assert!(shared.checked.load(Relaxed) > turns && moved.load(Relaxed) > 0);
    shared.pool.check().unwrap();
    let objects = shared.objects.into_inner().unwrap();
    assert_eq!(shared.pool.stats().objects, objects.len());
    for (handle, _) in objects {
        shared.pool.free(handle).unwrap();
    }
    shared.pool.check().unwrap();
    shared.pool.trim();
    let stats = shared.pool.stats();
    assert_eq!((stats.objects, stats.requested, stats.spans, stats.resident), (0, 0, 0, 0));
}

#[test]
fn few_objects_are_fought_for() {
    storm(Zspool::builder().shards(1).build(), 4, 40, 1500 * scale());
}

#[test]
fn many_objects_in_one_shard() {
    storm(Zspool::builder().shards(1).build(), 4, 3000, 1500 * scale());
}

#[test]
fn many_objects_in_many_shards() {
    storm(Zspool::builder().shards(8).build(), 6, 3000, 1000 * scale());
}
