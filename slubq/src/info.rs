//! What the allocator says about itself. Theory 8.

use crate::cache::{Cache, Tunable};
use crate::slab::Slab;
use crate::slubq::Slubq;
use core::fmt;
use kmem_base::pages::PagesStats;
use kmem_base::percpu::Mode;
use kmem_base::slabinfo::{HEADER, Row};

/// A row of slabinfo. Exact when nothing runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheInfo {
    /// Objects that its slabs have room for.
    pub objects: usize,
    /// ... free in the slabs,
    pub free: usize,
    /// ... in the CPUs' queues,
    pub queued: usize,
    /// ... and in the depots. The rest is in use.
    pub shared: usize,
    /// Slabs.
    pub slabs: usize,
    /// Slabs with free objects.
    pub partial: usize,
}

/// Bytes that are not in use but kept, by layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Objects in the CPUs' queues.
    pub queues: usize,
    /// Objects in depots.
    pub depots: usize,
    /// Free objects in slabs.
    pub slabs: usize,
    /// Free pages that may be backed by memory.
    pub pages: usize,
    /// Descriptors, sheaves, caches.
    pub metadata: usize,
}

impl Slubq {
    /// Walks the cache's partial slabs and queues.
    #[must_use]
    pub fn cache_info(&self, cache: &Cache) -> CacheInfo {
        let mut info = CacheInfo::default();
        for shard in cache.shards {
            let list = shard.lock();
            info.partial += list.len() as usize;
            // SAFETY: a listed page starts a slab of this cache, and its list is locked.
            let free = |page| unsafe { Slab::new(page, &cache.geometry) }.state().free().max(0) as usize;
            info.free += list.pages().map(free).sum::<usize>();
        }
        info.slabs = cache.slabs();
        info.objects = info.slabs * cache.geometry.objects as usize;
        info.queued = self.percpu.queued(cache.slot());
        let cap = self.percpu.lease(cache.slot()).shape().map_or(0, |shape| shape.cap as usize);
        info.shared = cache.depots.iter().map(|depot| depot.len() as usize * cap).sum();
        info
    }

    /// Calls `each` with every cache.
    pub fn for_each_cache(&self, each: impl FnMut(&'static Cache)) {
        self.caches().for_each(each);
    }

    /// What is kept without being in use.
    #[must_use]
    pub fn retained(&self) -> Retained {
        let mut retained = Retained { pages: self.pages.stats().retained, metadata: self.meta.bytes(), ..Retained::default() };
        for cache in self.caches() {
            let (info, size) = (self.cache_info(cache), cache.geometry.size as usize);
            retained.queues += info.queued * size;
            retained.depots += info.shared * size;
            retained.slabs += info.free * size;
        }
        retained
    }

    /// What the page supply holds.
    #[must_use]
    pub fn page_stats(&self) -> PagesStats {
        self.pages.stats()
    }

    /// Writes the table that `/proc/slabinfo` has, in version 2.1's columns: `tunables` are cpu_queue_size, batch_size and the sheaves
    /// per depot, `slabdata` counts slabs, and `sharedavail` objects in depots.
    ///
    /// # Errors
    /// If `out` has one.
    #[doc(alias = "slabinfo")]
    pub fn write_slabinfo(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(HEADER)?;
        self.caches().try_for_each(|cache| writeln!(out, "{}", self.row(cache)))
    }

    fn row<'a>(&self, cache: &'a Cache) -> Row<'a> {
        let (info, geometry) = (self.cache_info(cache), &cache.geometry);
        Row {
            name: cache.name(),
            active_objs: info.objects.saturating_sub(info.free + info.queued + info.shared),
            num_objs: info.objects,
            objsize: geometry.size as usize,
            objperslab: geometry.objects as usize,
            pagesperslab: geometry.pages as usize,
            limit: cache.tunable(Tunable::CpuQueueSize) as usize,
            batchcount: cache.tunable(Tunable::BatchSize) as usize,
            sharedfactor: self.percpu.lease(cache.slot()).shape().map_or(0, |shape| cache.depot_sheaves(shape) as usize),
            active_slabs: info.slabs,
            num_slabs: info.slabs,
            sharedavail: info.shared,
        }
    }

    /// How per-CPU queues are kept.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.percpu.mode()
    }
}
