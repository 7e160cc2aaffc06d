//! Models of a page that is written to the file, read, replaced and flushed at the same time: whole stores of one shard, whose pages are
//! of 2 KiB and do not compress, on the production source.

extern crate std;

use super::{Backing, GetError, Lifetime, Oid, PoolId, PutError, Sharing, Storage, Tmem, Uuid};
use crate::codec::{AnyCodec, Codec};
use crate::explore::explore_within;
use crate::pool::{Settings, Shape};
use kmem_base::source::Scratch;
use loom::thread;
use std::io;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

type Store = Tmem<&'static Scratch>;

const SIZE: usize = 2048;
const PAGE: (Oid, u32) = (Oid([1, 2, 3]), 4);
/// Bytes of the backing file; and of one that has room for a single record behind its header.
const FILE: u64 = 16 << 10;
const ONE_RECORD: u64 = 3 << 10;
/// With more, models take minutes; that of three threads does with two.
const PREEMPTIONS: usize = 2;

/// Threads of a model take turns on one thread of the system, so that nobody ever waits for this lock.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl Storage for Disk {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..to.len()));
        to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        let (mut bytes, end) = (self.0.lock().unwrap(), offset as usize + from.len());
        let len = bytes.len().max(end);
        bytes.resize(len, 0);
        bytes[offset as usize..end].copy_from_slice(from);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

struct World {
    store: Store,
    pool: PoolId,
    disk: Disk,
}

/// Compresses nothing, and takes none of a model thread's few bytes of stack.
#[derive(Debug)]
struct Never;

impl Codec for Never {
    type Work = ();

    fn name(&self) -> &'static str {
        "never"
    }

    fn bound(&self, len: usize) -> usize {
        len
    }

    fn work(&self, _longest: usize) -> Option<()> {
        Some(())
    }

    fn compress(&self, _work: &mut (), _from: &[u8], _to: &mut [u8]) -> Option<usize> {
        None
    }

    fn decompress(&self, _work: &mut (), _from: &[u8], _to: &mut [u8]) -> Option<usize> {
        None
    }
}

fn settings() -> Settings {
    const CODECS: &[&dyn AnyCodec] = &[&Never];
    Settings { shape: Shape::Pages(SIZE), codecs: CODECS, workers: 2, ..Settings::pages() }
}

impl World {
    fn new(source: &'static Scratch, lifetime: Lifetime, sharing: Sharing, most: u64) -> Arc<Self> {
        source.begin();
        let disk = Disk::default();
        let store = Tmem::builder(settings()).source(source).backing(Backing::create(disk.clone(), most)).build().unwrap();
        let pool = store.create(lifetime, sharing).unwrap();
        Arc::new(Self { store, pool, disk })
    }

    /// A persistent page in memory.
    fn in_memory(source: &'static Scratch) -> Arc<Self> {
        Self::with_a_page(source, FILE)
    }

    fn with_a_page(source: &'static Scratch, most: u64) -> Arc<Self> {
        let world = Self::new(source, Lifetime::Persistent, Sharing::Shared(Uuid([1, 1])), most);
        world.put(1);
        world
    }

    /// One in a file of `most` bytes.
    fn in_file(source: &'static Scratch, most: u64) -> Arc<Self> {
        let world = Self::with_a_page(source, most);
        assert_eq!(world.store.writeback(1).pages, 1);
        world
    }

    fn put(&self, byte: u8) {
        self.put_at(PAGE.1, byte).unwrap();
    }

    fn put_at(&self, index: u32, byte: u8) -> Result<(), PutError> {
        // Not same-filled.
        let mut page = [byte; SIZE];
        page[0] = 99;
        self.store.put(self.pool, PAGE.0, index, &page)
    }

    /// The byte that the page is full of.
    fn get(&self) -> Option<u8> {
        let mut page = [0; SIZE];
        let got = self.store.get(self.pool, PAGE.0, PAGE.1, &mut page);
        assert_ne!(got, Err(GetError::Lost));
        got.unwrap().map(|len| {
            assert!(len == SIZE && page[0] == 99 && page[1..].iter().all(|byte| *byte == page[1]), "torn");
            page[1]
        })
    }

    fn flush(&self) -> bool {
        self.store.flush_page(self.pool, PAGE.0, PAGE.1)
    }

    /// Everything holds; and a store that opens the file finds the page that this one has in it, and no other.
    fn settle(&self, found: Option<u8>) {
        self.store.check().unwrap();
        assert_eq!(self.get(), found);
        let in_file = found.is_some() && self.store.stats().hits_in_file > 0 && self.store.stats().file_bytes > 512;
        let again = Tmem::builder(settings()).backing(Backing::open(self.disk.clone(), FILE)).build().unwrap();
        assert_eq!(again.stats().pages, usize::from(in_file));
    }
}

fn spawn<T: 'static>(world: &Arc<World>, work: impl FnOnce(&World) -> T + 'static) -> thread::JoinHandle<T> {
    let world = world.clone();
    thread::spawn(move || work(&world))
}

#[test]
fn loom_a_page_is_found_while_it_is_written_to_the_file() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(PREEMPTIONS, || {
        let world = World::in_memory(&SOURCE);
        let writer = spawn(&world, |world| assert_eq!(world.store.writeback(1).pages, 1));
        assert_eq!(world.get(), Some(1));
        writer.join().unwrap();
        world.settle(Some(1));
    });
}

#[test]
fn loom_a_page_flushed_while_it_is_written_is_nowhere() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(PREEMPTIONS, || {
        let world = World::in_memory(&SOURCE);
        let writer = spawn(&world, |world| world.store.writeback(1));
        assert!(world.flush());
        assert_eq!(world.get(), None);
        writer.join().unwrap();
        world.settle(None);
    });
}

#[test]
fn loom_a_page_replaced_while_it_is_written_is_the_new_one() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(PREEMPTIONS, || {
        let world = World::in_memory(&SOURCE);
        let writer = spawn(&world, |world| world.store.writeback(1));
        world.put(2);
        assert_eq!(world.get(), Some(2));
        writer.join().unwrap();
        world.settle(Some(2));
    });
}

#[test]
fn loom_a_page_read_from_the_file_while_it_is_flushed_is_whole_or_not_there() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(PREEMPTIONS, || {
        let world = World::in_file(&SOURCE, FILE);
        let reader = spawn(&world, |world| assert!(matches!(world.get(), None | Some(1))));
        assert!(world.flush());
        reader.join().unwrap();
        world.settle(None);
    });
}

#[test]
fn loom_a_page_read_from_the_file_while_it_is_replaced_is_one_of_the_two() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(PREEMPTIONS, || {
        let world = World::in_file(&SOURCE, FILE);
        let reader = spawn(&world, |world| assert!(matches!(world.get(), Some(1 | 2))));
        world.put(2);
        reader.join().unwrap();
        world.settle(Some(2));
    });
}

#[test]
fn loom_a_page_read_from_the_file_is_never_the_next_one_in_its_place() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(PREEMPTIONS, || {
        let world = World::in_file(&SOURCE, ONE_RECORD);
        let reader = spawn(&world, |world| assert!(matches!(world.get(), None | Some(1))));
        assert!(world.flush());
        world.put_at(7, 2).unwrap();
        assert_eq!(world.store.writeback(1).pages, 1, "the file has room again");
        reader.join().unwrap();
        world.store.check().unwrap();
        assert_eq!(world.get(), None);
    });
}

#[test]
fn loom_writing_reading_and_flushing_at_once() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(1, || {
        let world = World::in_memory(&SOURCE);
        let reader = spawn(&world, |world| assert!(matches!(world.get(), None | Some(1))));
        let flusher = spawn(&world, World::flush);
        // By the thread that goes on where nobody interrupts: one preemption is enough to have the others in its midst.
        world.store.writeback(1);
        reader.join().unwrap();
        assert!(flusher.join().unwrap());
        world.settle(None);
    });
}

#[test]
fn loom_of_two_exclusive_gets_one_has_the_page() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(PREEMPTIONS, || {
        let world = World::new(&SOURCE, Lifetime::Ephemeral, Sharing::Private, FILE);
        world.put(1);
        let other = spawn(&world, World::get);
        let mine = world.get();
        assert!(matches!((mine, other.join().unwrap()), (Some(1), None) | (None, Some(1))));
        world.settle(None);
    });
}

#[test]
fn loom_a_pool_that_is_destroyed_while_a_page_is_put_is_empty() {
    static SOURCE: Scratch = Scratch::new();
    explore_within(PREEMPTIONS, || {
        let world = World::in_memory(&SOURCE);
        let putter = spawn(&world, |world| world.put_at(7, 2));
        assert!(world.store.destroy(world.pool).is_some());
        let put = putter.join().unwrap();
        assert!(matches!(put, Ok(()) | Err(PutError::NoPool)));
        world.store.check().unwrap();
        assert_eq!((world.store.stats().pages, world.store.pool().stats().held), (0, 0));
    });
}
