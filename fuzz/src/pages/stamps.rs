//! Who holds which pages. Sixteen bytes in every page tell whether somebody else wrote there. The supply deals in pages, and nothing
//! else is ever written, so that it is enough to look at those, also for zeroes.

use kmem_base::config::PAGE_SIZE;
use std::collections::BTreeMap;

const LEN: usize = 16;

/// Live runs and blocks: address to size and seed.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    live: BTreeMap<usize, (usize, u64)>,
    seed: u64,
    bytes: usize,
}

/// Where the stamps of a block lie, and how long they are.
fn places(size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..size).step_by(PAGE_SIZE).map(move |offset| (offset, LEN.min(size - offset)))
}

fn stamp(seed: u64, offset: usize) -> [u8; LEN] {
    // No byte of a stamp is zero.
    let word = (seed ^ offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 0x0101_0101_0101_0101;
    let mut stamp = [0; LEN];
    stamp[..8].copy_from_slice(&word.to_ne_bytes());
    stamp[8..].copy_from_slice(&(!word | 0x0101_0101_0101_0101).to_ne_bytes());
    stamp
}

impl Stamps {
    /// Bytes of all that is held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A new run or block: aligned, nobody else's, and zero if it has to be.
    ///
    /// # Safety
    /// It is the caller's.
    pub(super) unsafe fn add(&mut self, at: *mut u8, size: usize, align: usize, zeroed: bool) {
        assert!(at.addr().is_multiple_of(align), "misaligned");
        let before = self.live.range(..at.addr() + size).next_back();
        assert!(before.is_none_or(|(start, (size, _))| start + size <= at.addr()), "two that are held overlap");
        if zeroed {
            // SAFETY: the caller's.
            assert!(places(size).all(|(offset, len)| unsafe { bytes(at, offset, len) } == vec![0; len]), "not zero");
        }
        self.seed += 1;
        self.bytes += size;
        self.live.insert(at.addr(), (size, self.seed));
        // SAFETY: the caller's. The last byte is there; it stays zero, or what it was.
        unsafe {
            self.write(at, size);
            let last = at.add(size - 1);
            last.write_volatile(last.read_volatile());
        }
    }

    unsafe fn write(&self, at: *mut u8, size: usize) {
        let (_, seed) = self.live[&at.addr()];
        for (offset, len) in places(size) {
            // SAFETY: the caller's.
            unsafe { at.add(offset).copy_from_nonoverlapping(stamp(seed, offset).as_ptr(), len) };
        }
    }

    /// What is held at `at` has that size and what was written to it.
    ///
    /// # Safety
    /// It is live.
    pub(super) unsafe fn verify(&self, at: *mut u8, size: usize) {
        let (known, seed) = self.live[&at.addr()];
        assert_eq!(known, size);
        // SAFETY: the caller's.
        unsafe { verify(at, size, seed) };
    }

    /// The block at `old` is now at `at` and has another size; what fits into both is as it was.
    ///
    /// # Safety
    /// The new block is the caller's, the old one gone.
    pub(super) unsafe fn resize(&mut self, old: *mut u8, at: *mut u8, size: usize, align: usize) {
        let (before, seed) = self.live.remove(&old.addr()).expect("a live block");
        self.bytes -= before;
        // SAFETY: the caller's.
        unsafe {
            verify(at, before.min(size), seed);
            self.add(at, size, align, false);
        }
    }

    /// The block is about to be freed.
    ///
    /// # Safety
    /// It is still live.
    pub(super) unsafe fn remove(&mut self, at: *mut u8, size: usize) {
        // SAFETY: the caller's.
        unsafe { self.verify(at, size) };
        self.live.remove(&at.addr());
        self.bytes -= size;
    }
}

unsafe fn bytes(at: *mut u8, offset: usize, len: usize) -> Vec<u8> {
    // SAFETY: the caller's: that many bytes are readable.
    unsafe { std::slice::from_raw_parts(at.add(offset), len) }.to_vec()
}

unsafe fn verify(at: *mut u8, size: usize, seed: u64) {
    for (offset, len) in places(size) {
        // SAFETY: the caller's.
        let found = unsafe { bytes(at, offset, len) };
        assert_eq!(found, &stamp(seed, offset)[..len], "overwritten at offset {offset:#x} of {size:#x}");
    }
}
