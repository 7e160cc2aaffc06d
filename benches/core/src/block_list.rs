//! A long list of blocks in memory of its own: the allocator under test neither holds it nor is judged by it.

use std::io;
use std::ptr::NonNull;

use crate::Result;
use crate::block::Block;

/// Blocks below 64 KiB, 8 bytes each: the address, and the size in the 16 bits that an address of a program leaves free.
/// Dropping the list leaks its blocks.
pub(crate) struct BlockList {
    words: NonNull<u64>,
    len: usize,
    room: usize,
}

const ADDRESS_BITS: u32 = 48;

impl BlockList {
    /// An empty list; pages that are never reached cost nothing.
    pub(crate) fn with_room_for(room: usize) -> Result<Self> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new mapping, of memory that nobody has.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), room * size_of::<u64>(), access, flags, -1, 0) };
        match NonNull::new(memory.cast()) {
            Some(words) if memory != libc::MAP_FAILED => Ok(Self { words, len: 0, room }),
            _ => Err(io::Error::last_os_error().into()),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a block at the end.
    #[inline]
    pub(crate) fn push(&mut self, block: Block) {
        let (start, size) = block.into_raw();
        let address = start.as_ptr().expose_provenance() as u64;
        assert!(self.len < self.room && size < 1 << (u64::BITS - ADDRESS_BITS) && address >> ADDRESS_BITS == 0);
        // SAFETY: below the room of the mapping.
        unsafe { self.words.add(self.len).write(address | (size as u64) << ADDRESS_BITS) };
        self.len += 1;
    }

    /// Takes one out; the last takes its place.
    #[inline]
    pub(crate) fn take(&mut self, index: usize) -> Block {
        assert!(index < self.len);
        self.len -= 1;
        // SAFETY: both are below the old length, and the one at `index` is overwritten or out of the list now.
        unsafe {
            let block = self.read(index);
            self.words.add(index).write(self.words.add(self.len).read());
            block
        }
    }

    /// Takes out the first `count`, one after the other.
    pub(crate) fn take_front(&mut self, count: usize, mut each: impl FnMut(Block)) {
        let old = std::mem::take(&mut self.len);
        assert!(count <= old);
        for index in 0..count {
            // SAFETY: below the old length, and out of the list already.
            each(unsafe { self.read(index) });
        }
        // SAFETY: both ranges are below the old length.
        unsafe { self.words.copy_from(self.words.add(count), old - count) };
        self.len = old - count;
    }

    /// # Safety
    /// The block at `index` is or was in the list, and is read once.
    unsafe fn read(&self, index: usize) -> Block {
        // SAFETY: `push` has written there.
        let word = unsafe { self.words.add(index).read() };
        let start = std::ptr::with_exposed_provenance_mut((word & ((1 << ADDRESS_BITS) - 1)) as usize);
        // SAFETY: `push` got a block of this address, which is not null, and size.
        unsafe { Block::from_raw(NonNull::new_unchecked(start), (word >> ADDRESS_BITS) as usize) }
    }
}

impl Drop for BlockList {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `with_room_for`, as long as it was made.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.room * size_of::<u64>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes_left(mut list: BlockList) -> Vec<usize> {
        let mut sizes = Vec::new();
        list.take_front(list.len(), |block| sizes.push(block.size()));
        sizes
    }

    fn of_sizes(sizes: impl Iterator<Item = usize>) -> BlockList {
        let mut list = BlockList::with_room_for(10).unwrap();
        sizes.for_each(|size| list.push(Block::new(size)));
        list
    }

    #[test]
    fn the_last_takes_the_place_of_one_that_is_taken() {
        let mut list = of_sizes([10, 20, 30, 65_535].into_iter());
        assert_eq!(list.take(1).size(), 20);
        assert_eq!(list.take(2).size(), 30);
        assert_eq!(sizes_left(list), [10, 65_535]);
    }

    #[test]
    fn the_front_is_taken_in_order() {
        let mut list = of_sizes(1..=10);
        let mut taken = Vec::new();
        list.take_front(7, |block| taken.push(block.size()));
        assert_eq!(taken, (1..=7).collect::<Vec<_>>());
        assert_eq!(sizes_left(list), [8, 9, 10]);
    }
}
