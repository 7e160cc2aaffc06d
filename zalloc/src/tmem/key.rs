//! Names: of pools, of objects, of pages.

/// Name of an object within a pool: an inode, a table, a hash of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Oid(pub [u64; 3]);

/// Name of a shared pool, by which its users find it. All zeroes is no name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Uuid(pub [u64; 2]);

impl Uuid {
    /// The name of pools that have none.
    pub(super) const NIL: Self = Self([0; 2]);
}

/// What a pool promises (theory 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lifetime {
    /// Pages may vanish at any time, and do when memory is needed.
    Ephemeral,
    /// A page that was accepted is returned until it is flushed.
    Persistent,
}

/// Who may use a pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sharing {
    /// Whoever has created it. A get from an ephemeral one takes the page away.
    Private,
    /// Everybody who creates a pool of this name; the last to destroy it ends it. A get leaves the page where it is.
    Shared(Uuid),
}

/// A pool. An id that was destroyed names nothing, ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PoolId(u64);

const SLOT_BITS: u32 = 16;
const EPHEMERAL: u64 = 1 << SLOT_BITS;
const SHARED: u64 = EPHEMERAL << 1;
const GENERATION_AT: u32 = SLOT_BITS + 2;

impl PoolId {
    pub(super) fn new(slot: usize, generation: u64, lifetime: Lifetime, shared: bool) -> Self {
        let ephemeral = if lifetime == Lifetime::Ephemeral { EPHEMERAL } else { 0 };
        Self(slot as u64 | ephemeral | if shared { SHARED } else { 0 } | generation << GENERATION_AT)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    pub(super) fn slot(self) -> usize {
        (self.0 & (EPHEMERAL - 1)) as usize
    }

    /// Whether pages may vanish.
    #[must_use]
    pub fn is_ephemeral(self) -> bool {
        self.0 & EPHEMERAL != 0
    }

    /// Whether others may use it, too.
    #[must_use]
    pub fn is_shared(self) -> bool {
        self.0 & SHARED != 0
    }

    /// Whether a get takes the page away.
    pub(super) fn is_exclusive(self) -> bool {
        self.is_ephemeral() && !self.is_shared()
    }
}
