//! `zcodec`: any bytes, read as what a codec has written, as handles, and as a backing file. Whatever they are, they are read or refused.

use kmem_zalloc::codec::{AnyCodec, Codec, Lz4};
use kmem_zalloc::pool::{Handle, Pool, Recompress, Settings};
use kmem_zalloc::tmem::{Backing, Lifetime, Oid, Sharing, Storage, Tmem, Uuid};
use std::io;
use std::sync::Mutex;

const LONGEST: usize = 10_000;
const ROOM: usize = 64;

/// Does all three.
pub fn run(data: &[u8]) {
    decompress(data);
    round_trip(data);
    handles(data);
    file(data);
}

/// Nothing is written beyond the end, and the result is the same each time.
fn decompress(data: &[u8]) {
    let mut work = Lz4.work(LONGEST).expect("working memory");
    let mut once = |to: &mut [u8]| Lz4.decompress(&mut work, data, &mut to[..LONGEST]);
    let (mut first, mut second) = ([0xEE; LONGEST + ROOM], [0x11; LONGEST + ROOM]);
    let written = once(&mut first);
    assert_eq!(written, once(&mut second));
    assert!(first[LONGEST..] == [0xEE; ROOM] && second[LONGEST..] == [0x11; ROOM]);
    if let Some(len) = written {
        assert_eq!(first[..len], second[..len]);
    }
}

/// What is stored comes back.
fn round_trip(data: &[u8]) {
    let data = &data[..data.len().min(LONGEST)];
    let pool = Pool::new(Settings { workers: 1, ..Settings::buffers(LONGEST) }).expect("a pool");
    let handle = pool.store(data).expect("room");
    let mut out = [0; LONGEST];
    assert_eq!(pool.load(handle, &mut out), Ok(data.len()));
    assert_eq!(&out[..data.len()], data);
    pool.remove(handle).expect("it is there");
    pool.check().expect("the invariants");
}

/// Each sixteen bytes are a handle: of nothing, of what is there, or of what is made up.
fn handles(data: &[u8]) {
    let pool = Pool::new(Settings { workers: 1, ..Settings::buffers(LONGEST) }).expect("a pool");
    let kept = pool.store(&[&data[..data.len().min(500)], b"and what is always there, "].concat()).expect("room");
    // One whose data is removed and compressed again under such names.
    const CODECS: &[&dyn AnyCodec] = &[&Lz4, &Lz4];
    let other = Pool::new(Settings { workers: 1, codecs: CODECS, ..Settings::buffers(LONGEST) }).expect("a pool");
    let mut out = [0; LONGEST];
    for bits in data.as_chunks::<16>().0 {
        let made_up = u128::from_le_bytes(*bits);
        // As it is, and as a few bits of one that is valid.
        for bits in [made_up, kept.to_bits() ^ made_up & (0x1F << ((made_up >> 64) % 120))] {
            if let Some(handle) = Handle::from_bits(bits) {
                let _ = pool.load(handle, &mut out);
            }
        }
        let doomed = other.store(&data[..data.len().min(LONGEST)]).expect("room");
        for bits in [made_up, doomed.to_bits() ^ made_up >> 64 << 64] {
            if let Some(handle) = Handle::from_bits(bits) {
                other.recompress([&mut { handle }], Recompress::up_to(1));
                let _ = other.remove(handle);
            }
        }
        let _ = other.remove(doomed);
    }
    other.spool().check().expect("the invariants");
    assert!(pool.load(kept, &mut out).is_ok());
    pool.check().expect("the invariants");
}

/// The bytes as a file; behind a header that is right, if they begin with an odd one.
fn file(data: &[u8]) {
    let disk = Disk::default();
    let build = |backing| Tmem::builder(Settings { workers: 1, ..Settings::buffers(700) }).shards(1).backing(backing).build();
    let disk: &'static Disk = Box::leak(Box::new(disk));
    if data.first().is_some_and(|first| first & 1 == 1) {
        let store = build(Backing::create(disk, 64 << 10)).expect("a store");
        let pool = store.create(Lifetime::Persistent, Sharing::Shared(Uuid([1, 1]))).expect("a pool");
        for index in 0..8 {
            let page: Vec<u8> = (0..600_u32).map(|n| (n / 7 * (index + 3)) as u8).collect();
            store.put(pool, Oid([1, 2, 3]), index, &page).expect("room");
        }
        store.writeback(usize::MAX);
        drop(store);
        damage(&mut disk.0.lock().expect("one thread"), data);
    } else {
        *disk.0.lock().expect("one thread") = data.to_vec();
    }
    let store = build(Backing::open(disk, 64 << 10)).expect("a store");
    store.check().expect("the invariants");
    let pool = store.create(Lifetime::Persistent, Sharing::Shared(Uuid([1, 1]))).expect("a pool");
    let mut out = [0; 700];
    for index in 0..8 {
        if let Ok(Some(len)) = store.get(pool, Oid([1, 2, 3]), index, &mut out) {
            let whole = (0..600_u32).zip(&out).all(|(n, byte)| *byte == (n / 7 * (index + 3)) as u8);
            assert!(len == 600 && whole, "a page that was never written");
        }
    }
    store.destroy(pool);
    store.check().expect("the invariants");
    // SAFETY: leaked above, and the store that used it is gone.
    unsafe {
        drop(store);
        drop(Box::from_raw(std::ptr::from_ref(disk).cast_mut()));
    }
}

/// Each four bytes: a place, and a byte.
fn damage(file: &mut [u8], data: &[u8]) {
    for [low, high, by, _] in data.as_chunks::<4>().0 {
        let at = usize::from(*high) << 8 | usize::from(*low);
        let len = file.len();
        file[at % len] ^= by;
    }
}

/// A file in memory.
#[derive(Debug, Default)]
struct Disk(Mutex<Vec<u8>>);

impl Storage for Disk {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..to.len()));
        to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        let end = offset as usize + from.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(from);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().map_err(|_| io::ErrorKind::Other)?.len() as u64)
    }
}
