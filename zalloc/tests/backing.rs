//! The backing file: damaged, truncated, refused; and processes that die while they write to it.

mod data;
#[allow(dead_code)]
#[path = "data/model.rs"]
mod model;

use data::{Rng, noise};
use kmem_zalloc::pool::Settings;
use kmem_zalloc::tmem::{Backing, GetError, Lifetime, Oid, PoolId, Sharing, Storage, Tmem, Uuid};
use model::Disk;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const A: Oid = Oid([7, 8, 9]);
const NAME: Sharing = Sharing::Shared(Uuid([3, 4]));
const PAGES: u32 = 64;

fn page(index: u32, version: u64) -> Vec<u8> {
    let seed = u64::from(index) << 32 | version;
    let mut page = noise(&mut Rng::new(seed), 4096);
    if !index.is_multiple_of(5) {
        page.as_chunks_mut::<256>().0.iter_mut().for_each(|piece| piece[64..].fill(seed as u8));
    }
    page[..8].copy_from_slice(&version.to_le_bytes());
    page
}

fn build(backing: Backing) -> Tmem {
    Tmem::builder(Settings { workers: 1, ..Settings::pages() }).backing(backing).build().unwrap()
}

fn persistent(store: &Tmem) -> PoolId {
    store.create(Lifetime::Persistent, NAME).unwrap()
}

/// A store all of whose pages are on the disk.
fn written(disk: &Disk) -> (Tmem, PoolId) {
    let store = build(Backing::create(disk.clone(), 1 << 20));
    let pool = persistent(&store);
    for index in 0..PAGES {
        store.put(pool, A, index, &page(index, 1)).unwrap();
    }
    let done = store.writeback(usize::MAX);
    assert_eq!((done.pages, done.failed, store.pool().spool().stats().objects), (PAGES as usize, false, 0));
    store.check().unwrap();
    (store, pool)
}

/// The version of a page, if it is there and whole.
fn get(store: &Tmem, pool: PoolId, index: u32) -> Result<Option<u64>, GetError> {
    let mut out = [0; 4096];
    let got = store.get(pool, A, index, &mut out)?;
    Ok(got.map(|_| {
        let version = u64::from_le_bytes(out[..8].try_into().unwrap());
        assert!(out[..] == page(index, version)[..], "page {index} is wrong");
        version
    }))
}

#[test]
fn pages_come_back_from_the_file() {
    let (store, pool) = written(&Disk::default());
    (0..PAGES).for_each(|index| assert_eq!(get(&store, pool, index), Ok(Some(1))));
    assert_eq!(store.stats().hits_in_file, PAGES.into());
    // Replaced, they are in memory; flushed, they are gone; and their units are free.
    store.put(pool, A, 0, &page(0, 2)).unwrap();
    assert!(store.flush_page(pool, A, 1));
    assert_eq!((get(&store, pool, 0), get(&store, pool, 1)), (Ok(Some(2)), Ok(None)));
    store.check().unwrap();
    assert_eq!(store.destroy(pool), Some(PAGES as usize - 1));
    store.check().unwrap();
    assert_eq!(store.stats().file_bytes, 512);
}

#[test]
fn a_damaged_byte_is_an_error_for_its_page_only() {
    let disk = Disk::default();
    let (store, pool) = written(&disk);
    let mut rng = Rng::new(1);
    let len = disk.with(|bytes| bytes.len());
    let mut lost = 0;
    for _ in 0..300 {
        let (at, bit) = (512 + rng.below(len - 512), 1 << rng.below(8));
        disk.with(|bytes| bytes[at] ^= bit);
        let now: Vec<_> = (0..PAGES).filter(|index| get(&store, pool, *index) == Err(GetError::Lost)).collect();
        // What lies behind a record's end is nobody's.
        assert!(now.len() <= 1, "{now:?}");
        lost += now.len();
        disk.with(|bytes| bytes[at] ^= bit);
    }
    assert!(lost > 200);
    assert_eq!(store.stats().lost, lost as u64);
    (0..PAGES).for_each(|index| assert_eq!(get(&store, pool, index), Ok(Some(1))));
}

#[test]
fn a_truncated_or_missing_file_is_an_error_for_what_it_had() {
    let disk = Disk::default();
    let (store, pool) = written(&disk);
    store.put(pool, A, 3, &page(3, 5)).unwrap();
    let mut before = PAGES;
    for share in [4, 3, 2, 1, 0] {
        disk.with(|bytes| bytes.truncate(bytes.len() * share / 5));
        let whole = (0..PAGES).filter(|index| get(&store, pool, *index).is_ok_and(|version| version.is_some())).count() as u32;
        assert!(whole < before && get(&store, pool, 3) == Ok(Some(5)), "{share}: {whole}");
        before = whole;
    }
    assert_eq!(before, 1);
    // A lost page can be put anew, or flushed.
    store.put(pool, A, 10, &page(10, 2)).unwrap();
    assert_eq!(get(&store, pool, 10), Ok(Some(2)));
    assert!(store.flush_page(pool, A, 11));
    assert_eq!(get(&store, pool, 11), Ok(None));
    store.check().unwrap();
}

#[test]
fn a_real_file_can_be_truncated_and_deleted_in_use() {
    let folder = Folder::new("truncated");
    let path = folder.0.join("backing");
    let file = File::create_new(&path).unwrap();
    let file = File::options().read(true).write(true).open(&path).map(|opened| (opened, file).0).unwrap();
    let store = build(Backing::create(file, 1 << 20));
    let pool = persistent(&store);
    (0..PAGES).for_each(|index| store.put(pool, A, index, &page(index, 1)).unwrap());
    assert_eq!(store.writeback(usize::MAX).pages, PAGES as usize);
    std::fs::remove_file(&path).unwrap();
    (0..PAGES).for_each(|index| assert_eq!(get(&store, pool, index), Ok(Some(1)), "deleted, but open"));
    let path = folder.0.join("another");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let store = build(Backing::create(file, 1 << 20));
    let pool = persistent(&store);
    (0..PAGES).for_each(|index| store.put(pool, A, index, &page(index, 1)).unwrap());
    assert_eq!(store.writeback(usize::MAX).pages, PAGES as usize);
    File::options().write(true).open(&path).unwrap().set_len(20_000).unwrap();
    let lost = (0..PAGES).filter(|index| get(&store, pool, *index) == Err(GetError::Lost)).count();
    assert!(lost > 20 && lost < PAGES as usize);
}

/// A disk that fails, or stops, after so many writes: a part of the next is written still.
#[derive(Clone, Debug, Default)]
struct Dying {
    disk: Disk,
    writes: Arc<AtomicU64>,
    /// Writes that are done; and bytes of the one after them.
    last: u64,
    part: usize,
    /// Whether there are errors; or whoever writes does not notice, since he is dead.
    silent: bool,
}

impl Dying {
    fn is_dead(&self) -> bool {
        self.writes.load(Ordering::Relaxed) > self.last
    }
}

impl Storage for Dying {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(to, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        if number < self.last {
            return self.disk.write_at(from, offset);
        }
        if number == self.last {
            self.disk.write_at(&from[..self.part.min(from.len())], offset)?;
        }
        if self.silent { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn size(&self) -> io::Result<u64> {
        self.disk.size()
    }
}

#[test]
fn pages_that_cannot_be_written_stay_in_memory() {
    for part in [0, 100, 600] {
        let dying = Dying { last: 20, part, ..Dying::default() };
        let store = build(Backing::create(dying, 1 << 20));
        let pool = persistent(&store);
        (0..PAGES).for_each(|index| store.put(pool, A, index, &page(index, 1)).unwrap());
        let done = store.writeback(usize::MAX);
        assert!(done.failed && done.pages == 19, "{done:?}");
        assert!(store.writeback(usize::MAX).failed);
        (0..PAGES).for_each(|index| assert_eq!(get(&store, pool, index), Ok(Some(1))));
        assert!(store.stats().unwritten >= 2);
        store.check().unwrap();
        // Nor can records be made invalid; the pages are gone all the same.
        assert_eq!(store.flush_object(pool, A), PAGES as usize);
        store.check().unwrap();
    }
}

#[test]
fn a_full_file_takes_no_more_and_loses_nothing() {
    let store = build(Backing::create(Disk::default(), 64 << 10));
    let pool = persistent(&store);
    (0..PAGES).for_each(|index| store.put(pool, A, index, &page(index, 1)).unwrap());
    let done = store.writeback(usize::MAX);
    assert!(done.failed && (10..PAGES as usize).contains(&done.pages));
    (0..PAGES).for_each(|index| assert_eq!(get(&store, pool, index), Ok(Some(1))));
    store.check().unwrap();
}

#[test]
fn another_store_takes_over_what_is_whole_and_named() {
    let disk = Disk::default();
    {
        let (store, pool) = written(&disk);
        let private = store.create(Lifetime::Persistent, Sharing::Private).unwrap();
        store.put(private, A, 0, &page(0, 9)).unwrap();
        assert_eq!(store.writeback(usize::MAX).pages, 1);
        store.put(pool, A, 0, &page(0, 2)).unwrap();
        assert_eq!(store.writeback(usize::MAX).pages, 1);
        store.put(pool, A, 1, &page(1, 2)).unwrap();
        assert!(store.flush_page(pool, A, 2));
    }
    let store = build(Backing::open(disk.clone(), 1 << 20));
    store.check().unwrap();
    let pool = persistent(&store);
    let expected = |index| match index {
        0 => Some(2),
        // In memory when the store ended; flushed.
        1 | 2 => None,
        _ => Some(1),
    };
    (0..PAGES).for_each(|index| assert_eq!(get(&store, pool, index), Ok(expected(index)), "{index}"));
    // New copies are newer than all that were found.
    store.put(pool, A, 5, &page(5, 3)).unwrap();
    assert_eq!(store.writeback(usize::MAX).pages, 1);
    drop(store);
    let store = build(Backing::open(disk.clone(), 1 << 20));
    let pool = persistent(&store);
    assert_eq!(get(&store, pool, 5), Ok(Some(3)));
    assert_eq!(store.destroy(pool), Some(PAGES as usize - 2));
    assert_eq!(store.stats().file_bytes, 512);
    drop(store);
    // Of other settings it is not the file; created, it is empty.
    let (store, _) = written(&disk);
    drop(store);
    let other = Tmem::builder(Settings::buffers(4096)).backing(Backing::open(disk.clone(), 1 << 20)).build().unwrap();
    assert_eq!(other.stats().pages, 0);
    drop(other);
    let store = build(Backing::open(disk, 1 << 20));
    assert_eq!(store.stats().pages, 0);
}

#[test]
fn any_bytes_are_a_file_with_no_page_or_with_whole_ones() {
    let mut rng = Rng::new(3);
    let disk = Disk::default();
    drop(written(&disk));
    let whole = disk.with(|bytes| bytes.clone());
    for round in 0..200 {
        let damaged = Disk::default();
        damaged.with(|bytes| {
            *bytes = whole.clone();
            for _ in 0..=round % 17 {
                let at = rng.below(bytes.len());
                match rng.below(4) {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.rotate_left(at / 512 * 512),
                    // A record in another place.
                    _ => {
                        let (from, to) = (rng.below(bytes.len()) / 512 * 512, at / 512 * 512);
                        let len = 512.min(bytes.len() - from.max(to));
                        bytes.copy_within(from..from + len, to);
                    }
                }
            }
        });
        let store = build(Backing::open(damaged, 1 << 20));
        store.check().unwrap();
        let pool = persistent(&store);
        (0..PAGES).for_each(|index| assert!(matches!(get(&store, pool, index), Ok(None | Some(1)) | Err(GetError::Lost))));
    }
}

/// What a page may be after a crash: what was put last, or nothing if it was in memory only; not what had been replaced or flushed.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Version of the last put that was done; 0 after a flush.
    done: u64,
    /// That of an operation that was begun.
    begun: u64,
}

impl Known {
    fn allows(self, found: Result<Option<u64>, GetError>) -> bool {
        match found {
            Ok(None) | Err(GetError::Lost) => true,
            Ok(Some(version)) => version != 0 && (version == self.done || version == self.begun),
            Err(_) => false,
        }
    }
}

/// An operation of a script: `version` is 0 for a flush.
fn step(store: &Tmem, pool: PoolId, rng: &mut Rng, version: u64, mut note: impl FnMut(u32, u64, bool)) {
    let index = rng.below(24) as u32;
    let version = if rng.below(3) == 0 { 0 } else { version };
    note(index, version, false);
    if version == 0 {
        store.flush_page(pool, A, index);
    } else {
        store.put(pool, A, index, &page(index, version)).unwrap();
    }
    note(index, version, true);
    if rng.below(3) == 0 {
        store.writeback(rng.below(4));
    }
}

#[test]
fn a_crash_in_any_write_shows_nothing_that_was_replaced() {
    // `KMEM_STORM` set: in every write, not in every fifth.
    let (mut found, stride) = (0, if std::env::var_os("KMEM_STORM").is_some() { 1 } else { 5 });
    for last in (1..120).step_by(stride) {
        for part in [0, 127, 128, 600, 4096] {
            let dying = Dying { last, part, silent: true, ..Dying::default() };
            let store = build(Backing::create(dying.clone(), 64 << 10));
            let pool = persistent(&store);
            let (mut rng, mut known) = (Rng::new(last / 5 % 7), HashMap::<u32, Known>::new());
            let mut version = 0;
            while !dying.is_dead() {
                version += 1;
                step(&store, pool, &mut rng, version, |index, version, done| {
                    let known = known.entry(index).or_default();
                    known.begun = version;
                    // A step that the crash interrupts is not done.
                    if done && !dying.is_dead() {
                        known.done = version;
                    }
                });
            }
            drop(store);
            let store = build(Backing::open(dying.disk, 64 << 10));
            store.check().unwrap();
            let pool = persistent(&store);
            for index in 0..24 {
                let got = get(&store, pool, index);
                found += usize::from(matches!(got, Ok(Some(_))));
                let known = known.get(&index).copied().unwrap_or_default();
                assert!(known.allows(got), "write {last}, {part} bytes, page {index}: {got:?}, {} {}", known.done, known.begun);
            }
        }
    }
    assert!(found > 200, "{found}");
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kmem-zalloc-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const VICTIM: &str = "KMEM_ZALLOC_VICTIM";

/// The process that is killed: does what it likes, and keeps a diary. A test of its own, that does nothing when run as one.
#[test]
fn victim() {
    let Ok(folder) = std::env::var(VICTIM) else { return };
    let file =
        File::options().read(true).write(true).create(true).truncate(false).open(Path::new(&folder).join("backing")).unwrap();
    let mut diary = File::options().append(true).create(true).open(Path::new(&folder).join("diary")).unwrap();
    let store = build(Backing::create(file, 256 << 10));
    let pool = persistent(&store);
    let mut rng = Rng::new(std::process::id().into());
    for version in 1.. {
        step(&store, pool, &mut rng, version, |index, version, done| {
            let entry = [u64::from(index), version, u64::from(done)];
            diary.write_all(entry.map(u64::to_le_bytes).as_flattened()).unwrap();
        });
    }
}

fn start_victim(folder: &Path) -> Child {
    let me = std::env::current_exe().unwrap();
    Command::new(me).args(["--exact", "victim", "--nocapture"]).env(VICTIM, folder).spawn().unwrap()
}

fn entries(folder: &Path) -> Vec<[u64; 3]> {
    let diary = std::fs::read(folder.join("diary")).unwrap_or_default();
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    diary.as_chunks::<24>().0.iter().map(|entry| [word(&entry[..8]), word(&entry[8..16]), word(&entry[16..])]).collect()
}

#[test]
fn a_process_killed_while_it_writes_leaves_nothing_that_was_replaced() {
    let rounds = std::env::var("KMEM_ZALLOC_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let (mut rng, mut found) = (Rng::new(u64::from(std::process::id())), 0);
    for _ in 0..rounds {
        let folder = Folder::new("killed");
        let mut victim = start_victim(&folder.0);
        // It is in the midst of it.
        while entries(&folder.0).len() < 200 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(rng.below(20_000) as u64));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let mut known = HashMap::<u64, Known>::new();
        for [index, version, done] in entries(&folder.0) {
            let known = known.entry(index).or_default();
            known.begun = version;
            if done == 1 {
                known.done = version;
            }
        }
        let file = File::options().read(true).write(true).open(folder.0.join("backing")).unwrap();
        let store = build(Backing::open(file, 256 << 10));
        store.check().unwrap();
        let pool = persistent(&store);
        for index in 0..24 {
            let got = get(&store, pool, index);
            found += usize::from(matches!(got, Ok(Some(_))));
            let known = known.get(&index.into()).copied().unwrap_or_default();
            assert!(known.allows(got), "page {index}: {got:?}, {} {}", known.done, known.begun);
        }
    }
    assert!(found > rounds, "{found} pages in {rounds} rounds");
}
