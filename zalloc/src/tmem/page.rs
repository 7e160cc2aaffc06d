//! A page of the store, and what may happen to it (theory 5.3). The transitions are pure: they change a value under its shard's lock and
//! do nothing else.
//!
//! ```text
//!            put                 begin_write             end_write(extent)
//!   (none) -------> [ memory ] --------------> [ writing ] -------------> [ file ]
//!                      ^  |  ^                     |                       |   |
//!                      +--+  +---------------------+                       |   | begin_release
//!                       put       end_write(none)                          |   v
//!                      ^                                                   | [ releasing ]
//!                      +---------------------------------------------------|---+ put, flush
//! ```
//!
//! While a thread is at a page's record in the file (`writing`, `releasing`), nobody else replaces or removes the page: they wait. So
//! nobody is told that a page has been replaced or flushed before no record says otherwise.

use super::list::{Links, Node};
use super::slots::Chained;
use crate::pool::{Handle, Meta};

/// Where the bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the pool.
    Memory(Handle),
    /// In the backing file, from this unit on.
    File { unit: u32, meta: Meta },
}

/// Who is at the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Idle,
    /// A thread writes it to the file; it is in memory still.
    Writing,
    /// A thread invalidates its record.
    Releasing,
}

/// What tells one copy of a page from all others, ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Version(pub(super) u64);

/// One page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) place: Place,
    pub(super) version: Version,
    pub(super) object: u32,
    pub(super) index: u32,
    chain: u32,
    siblings: Links,
    age: Links,
    pub(super) state: State,
    /// In the list of its age.
    pub(super) listed: bool,
    /// Used since the writer came by.
    pub(super) referenced: bool,
}

/// The list of an object's pages.
pub(super) const SIBLINGS: usize = 0;
/// The list by age.
pub(super) const AGE: usize = 1;

/// How a page may be taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// At once: it is in memory, and nobody is at it.
    Now(Handle),
    /// When its record is invalid; the caller has to see to that, and nobody else is at it now.
    Release { unit: u32, meta: Meta },
    /// Later: somebody is at it.
    Wait,
}

impl Page {
    pub(super) fn new(object: u32, index: u32, place: Place, version: Version) -> Self {
        Self {
            place,
            version,
            object,
            index,
            chain: super::slots::NONE,
            siblings: Links::NONE,
            age: Links::NONE,
            state: State::Idle,
            listed: false,
            referenced: false,
        }
    }

    /// The neighbour in its list of ages that was used later.
    pub(super) fn younger(&self) -> u32 {
        self.age.previous
    }

    pub(super) fn meta(&self) -> Meta {
        match self.place {
            Place::Memory(handle) => handle.meta(),
            Place::File { meta, .. } => meta,
        }
    }

    /// True if this is still the copy that could not be read, and nobody is about to make it so.
    pub(super) fn is_unreadable(&self, old: &Self) -> bool {
        (self.version, self.place) == (old.version, old.place) && self.state != State::Releasing
    }

    /// Asks to take the page away, or to replace its contents.
    pub(super) fn access(&mut self) -> Access {
        match (self.state, self.place) {
            (State::Idle, Place::Memory(handle)) => Access::Now(handle),
            (State::Idle, Place::File { unit, meta }) => {
                self.state = State::Releasing;
                Access::Release { unit, meta }
            }
            _ => Access::Wait,
        }
    }

    /// Begins to write it: its handle, if it is in memory and nobody is at it.
    pub(super) fn begin_write(&mut self) -> Option<Handle> {
        match (self.state, self.place) {
            (State::Idle, Place::Memory(handle)) => {
                self.state = State::Writing;
                Some(handle)
            }
            _ => None,
        }
    }

    /// Ends it: with the unit where it is now, or none if it could not be written.
    pub(super) fn end_write(&mut self, unit: Option<u32>) {
        debug_assert!(self.state == State::Writing);
        self.state = State::Idle;
        if let Some(unit) = unit {
            self.place = Place::File { unit, meta: self.meta() };
        }
    }

    /// New contents. Nobody is at the page, or the caller has released its record.
    pub(super) fn replace(&mut self, handle: Handle, version: Version) {
        debug_assert!(self.state != State::Writing);
        (self.place, self.version, self.state, self.referenced) = (Place::Memory(handle), version, State::Idle, false);
    }
}

impl Chained for Page {
    fn chain(&self) -> u32 {
        self.chain
    }

    fn set_chain(&mut self, next: u32) {
        self.chain = next;
    }
}

impl Node<SIBLINGS> for Page {
    fn links(&self) -> &Links {
        &self.siblings
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.siblings
    }
}

impl Node<AGE> for Page {
    fn links(&self) -> &Links {
        &self.age
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.age
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn page() -> Page {
        let handle = Handle::new(7, Meta::new(4096, 100, 0));
        Page::new(0, 0, Place::Memory(handle), Version(1))
    }

    #[test]
    fn one_thread_at_a_time_is_at_a_record() {
        let mut page = page();
        assert!(page.begin_write().is_some());
        assert_eq!((page.access(), page.begin_write()), (Access::Wait, None));
        page.end_write(Some(9));
        assert!(matches!(page.access(), Access::Release { unit: 9, .. }));
        assert_eq!((page.access(), page.begin_write()), (Access::Wait, None));
        page.replace(Handle::new(8, Meta::new(4096, 100, 0)), Version(2));
        assert!(matches!(page.access(), Access::Now(_)));
    }

    #[test]
    fn a_write_that_failed_leaves_the_page_in_memory() {
        let mut page = page();
        let handle = page.begin_write();
        page.end_write(None);
        assert_eq!(page.begin_write(), handle);
    }

    #[test]
    fn a_page_is_small() {
        assert!(size_of::<Page>() <= 72, "{}", size_of::<Page>());
    }
}
