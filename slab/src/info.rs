//! What the allocator says about itself. Theory 8.

use crate::cache::{Flags, RawCache};
use crate::registry::TuneError;
use crate::slab::Slab;
use core::fmt;
use kmem_base::pages::PagesStats;
use kmem_base::percpu::Mode;
use kmem_base::slabinfo::{HEADER, Row, Tuning};

/// What a cache holds. Exact when nothing runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheInfo {
    /// Objects that its slabs have room for.
    pub objects: usize,
    /// ... free in the slabs,
    pub free: usize,
    /// ... in the CPUs' arrays or magazines,
    pub queued: usize,
    /// ... in shared arrays or depots,
    pub shared: usize,
    /// ... and in alien arrays. The rest is in use.
    pub alien: usize,
    /// Slabs of which no object is out.
    pub free_slabs: usize,
    /// ... of which some are,
    pub partial_slabs: usize,
    /// ... and all.
    pub full_slabs: usize,
}

impl CacheInfo {
    /// Objects in use.
    #[must_use]
    pub const fn live(&self) -> usize {
        self.objects.saturating_sub(self.free + self.queued + self.shared + self.alien)
    }

    /// Slabs.
    #[must_use]
    pub const fn slabs(&self) -> usize {
        self.free_slabs + self.partial_slabs + self.full_slabs
    }
}

/// A line that should have tuned a cache did not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TuneLineError {
    /// It is not `name limit batchcount sharedfactor`.
    Syntax,
    /// There is no cache of that name.
    Unknown,
    /// The cache refused.
    Refused(TuneError),
}

impl fmt::Display for TuneLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("expected: name limit batchcount sharedfactor"),
            Self::Unknown => f.write_str("no cache of that name"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TuneLineError {}

impl Slab {
    /// Reads the cache's lists and arrays.
    #[must_use]
    pub fn cache_info(&self, cache: &RawCache) -> CacheInfo {
        let mut info = CacheInfo::default();
        for node in cache.nodes {
            {
                let lists = node.lock();
                info.free += lists.free_objects;
                info.shared += lists.shared_len();
                info.full_slabs += lists.full.len() as usize;
                info.partial_slabs += lists.partial.len() as usize;
                info.free_slabs += lists.free.len() as usize;
            }
            info.alien += node.aliens.iter().map(crate::shared::Alien::len).sum::<usize>();
        }
        info.objects = info.slabs() * cache.geometry().objects as usize;
        info.queued = self.percpu.queued(cache.slot());
        info.shared += cache.depots.iter().map(|depot| (depot.len().0 * cache.tuning().limit) as usize).sum::<usize>();
        info
    }

    /// Objects of the cache that are in use. Exact when nothing runs.
    #[must_use]
    pub fn live_objects(&self, cache: &RawCache) -> usize {
        self.cache_info(cache).live()
    }

    /// Calls `each` with every cache.
    pub fn for_each_cache(&self, each: impl FnMut(&'static RawCache)) {
        self.caches().for_each(each);
    }

    /// The cache of that name; the oldest, if there are several.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&'static RawCache> {
        self.caches().find(|cache| cache.name() == name)
    }

    /// What the page supply holds.
    #[must_use]
    pub fn page_stats(&self) -> PagesStats {
        self.pages.stats()
    }

    /// Bytes in slabs of caches whose objects can be given up under pressure ([`Flags::RECLAIM_ACCOUNT`]): the kernel's `SReclaimable`.
    #[must_use]
    pub fn reclaimable(&self) -> usize {
        let accounted = self.caches().filter(|cache| cache.flags.has(Flags::RECLAIM_ACCOUNT));
        accounted.map(|cache| self.cache_info(cache).slabs() * cache.geometry().bytes()).sum()
    }

    /// Bytes of metadata: caches, arrays, geometries. They are kept.
    #[must_use]
    pub fn metadata(&self) -> usize {
        self.meta.bytes()
    }

    /// Writes the table that `/proc/slabinfo` has, in version 2.1's columns.
    ///
    /// # Errors
    /// If `out` has one.
    #[doc(alias = "slabinfo")]
    pub fn write_slabinfo(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(HEADER)?;
        self.caches().try_for_each(|cache| writeln!(out, "{}", self.row(cache)))
    }

    /// A cache's line of that table.
    #[must_use]
    pub fn row<'a>(&self, cache: &'a RawCache) -> Row<'a> {
        let (info, geometry, tuning) = (self.cache_info(cache), cache.geometry(), cache.tuning());
        Row {
            name: cache.name(),
            active_objs: info.live(),
            num_objs: info.objects,
            objsize: geometry.size as usize,
            objperslab: geometry.objects as usize,
            pagesperslab: geometry.pages as usize,
            limit: tuning.limit as usize,
            batchcount: tuning.batch as usize,
            sharedfactor: tuning.shared as usize,
            active_slabs: info.full_slabs + info.partial_slabs,
            num_slabs: info.slabs(),
            sharedavail: info.shared,
        }
    }

    /// Does what writing `line` to `/proc/slabinfo` does: `name limit batchcount sharedfactor`.
    ///
    /// # Errors
    /// See [`TuneLineError`].
    #[doc(alias = "slabinfo_write")]
    pub fn tune_line(&self, line: &str) -> Result<(), TuneLineError> {
        let tuning = Tuning::parse(line).ok_or(TuneLineError::Syntax)?;
        let cache = self.named(tuning.name).ok_or(TuneLineError::Unknown)?;
        self.tune(cache, tuning.limit, tuning.batchcount, tuning.sharedfactor).map_err(TuneLineError::Refused)
    }

    /// How per-CPU arrays are kept.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.percpu.mode()
    }
}
