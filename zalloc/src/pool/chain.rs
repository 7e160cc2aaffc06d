//! Stored bytes as objects: one, or a chain of several if there are more bytes than an object may have (theory 4.4).
//!
//! The first object of a chain begins with the handles of the others; all but the last are of one length.

use super::{LoadError, patiently};
use crate::spool::{AllocError, Handle, MAX_SIZE, ReadGuard, Zspool};
use kmem_base::source::PageSource;

/// Bytes of a handle.
const NAME: usize = size_of::<u64>();

/// True if so many bytes are one object.
pub(super) fn is_single(stored: usize) -> bool {
    stored <= MAX_SIZE
}

/// How many bytes lie where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    objects: usize,
    /// Length of all objects but the last.
    piece: usize,
    last: usize,
}

impl Layout {
    fn of(stored: usize) -> Self {
        if is_single(stored) {
            return Self { objects: 1, piece: stored, last: stored };
        }
        let objects = (stored - NAME).div_ceil(MAX_SIZE - NAME);
        let total = stored + Self::names_of(objects);
        let piece = total.div_ceil(objects);
        Self { objects, piece, last: total - piece * (objects - 1) }
    }

    fn names_of(objects: usize) -> usize {
        (objects - 1) * NAME
    }

    /// Bytes of handles in the first object.
    fn names(self) -> usize {
        Self::names_of(self.objects)
    }

    /// Bytes of data in the first object.
    fn head(self) -> usize {
        self.piece - self.names()
    }

    /// The lengths of the other objects.
    fn others(self) -> impl Iterator<Item = usize> {
        (1..self.objects).map(move |index| if index == self.objects - 1 { self.last } else { self.piece })
    }
}

/// Stores `bytes` and names them.
pub(super) fn insert<S: PageSource>(spool: &Zspool<S>, bytes: &[u8]) -> Result<u64, AllocError> {
    if is_single(bytes.len()) {
        return spool.insert(bytes).map(Handle::to_bits);
    }
    let layout = Layout::of(bytes.len());
    let mut head = [0; MAX_SIZE];
    let (own, mut rest) = bytes.split_at(layout.head());
    head[layout.names()..layout.piece].copy_from_slice(own);
    for (index, len) in layout.others().enumerate() {
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        match spool.insert(piece) {
            Ok(handle) => head[index * NAME..][..NAME].copy_from_slice(&handle.to_bits().to_le_bytes()),
            Err(error) => {
                free_named(spool, &head[..index * NAME]);
                return Err(error);
            }
        }
    }
    let first = spool.insert(&head[..layout.piece]);
    first.map(Handle::to_bits).inspect_err(|_| free_named(spool, &head[..layout.names()]))
}

/// The object `word`, which has to have `len` bytes.
pub(super) fn pin<S: PageSource>(spool: &Zspool<S>, word: u64, len: usize) -> Result<ReadGuard<'_>, LoadError> {
    let handle = Handle::from_bits(word).ok_or(LoadError::Stale)?;
    let object = patiently(|| spool.read(handle))?;
    if object.len() == len { Ok(object) } else { Err(LoadError::Stale) }
}

/// Copies what was stored under `word` to `to`, which has its length.
pub(super) fn read<S: PageSource>(spool: &Zspool<S>, word: u64, to: &mut [u8]) -> Result<(), LoadError> {
    let layout = Layout::of(to.len());
    let head = pin(spool, word, layout.piece)?;
    let (names, data) = head.split_at(layout.names());
    let (own, mut rest) = to.split_at_mut(layout.head());
    own.copy_from_slice(data);
    for (name, len) in words(names).zip(layout.others()) {
        let (piece, behind) = rest.split_at_mut(len);
        rest = behind;
        piece.copy_from_slice(&pin(spool, name, len)?);
    }
    Ok(())
}

/// Frees what was stored under `word`. Of several threads that do, one succeeds.
pub(super) fn free<S: PageSource>(spool: &Zspool<S>, word: u64, stored: usize) -> Result<(), LoadError> {
    let layout = Layout::of(stored);
    let handle = Handle::from_bits(word).ok_or(LoadError::Stale)?;
    if layout.objects == 1 {
        if patiently(|| spool.size(handle))? != stored {
            return Err(LoadError::Stale);
        }
        return patiently(|| spool.free(handle));
    }
    let mut names = [0; MAX_SIZE];
    let names = &mut names[..layout.names()];
    {
        let head = pin(spool, word, layout.piece)?;
        names.copy_from_slice(&head[..layout.names()]);
    }
    patiently(|| spool.free(handle))?;
    free_named(spool, names);
    Ok(())
}

fn free_named<S: PageSource>(spool: &Zspool<S>, names: &[u8]) {
    for name in words(names) {
        // Nobody else knows their handles; a head that was made up may name what is no object.
        let _ = Handle::from_bits(name).map(|handle| spool.free(handle));
    }
}

fn words(names: &[u8]) -> impl Iterator<Item = u64> {
    names.as_chunks::<NAME>().0.iter().map(|name| u64::from_le_bytes(*name))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::LONGEST;
    use super::*;

    #[test]
    fn layouts_hold_their_bytes() {
        for stored in (1..20_000).chain((20_000..=LONGEST).step_by(997)).chain([LONGEST]) {
            let layout = Layout::of(stored);
            let lens = || [layout.piece].into_iter().chain(layout.others());
            assert!(lens().all(|len| (1..=MAX_SIZE).contains(&len)), "{stored} {layout:?}");
            assert_eq!(lens().sum::<usize>(), stored + layout.names(), "{stored}");
            assert!(layout.names() < layout.piece);
            assert_eq!(layout.objects == 1, is_single(stored));
        }
    }

    #[test]
    fn a_chain_that_cannot_be_finished_leaves_nothing() {
        let spool = Zspool::builder().limit(64 << 10).build();
        let bytes: std::vec::Vec<u8> = (0..300_000_u32).map(|n| (n * 7) as u8).collect();
        assert_eq!(insert(&spool, &bytes), Err(AllocError::Limit));
        assert_eq!(spool.stats().objects, 0);
    }
}
