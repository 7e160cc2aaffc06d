//! The full walk of the invariants of theory 4. Exact when nothing runs.

use crate::cache::Cache;
use crate::shard::Shard;
use crate::slab::Slab;
use crate::slubq::Slubq;
use kmem_base::pages::{Kind, Page};
use kmem_base::sync::Ordering;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Free runs, descriptors or huge blocks.
    Pages,
    /// Links or length of a partial list.
    List,
    /// A slab on a list is not a slab of that cache and shard, or not marked so.
    Listed,
    /// Count, bits and summary of a slab disagree.
    Bits,
    /// A queue or depot holds more than it can, or more objects are about than there are.
    Conservation,
}

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Pages => "page supply: free runs, descriptors or huge blocks disagree",
            Self::List => "partial list: links or length are wrong",
            Self::Listed => "partial list: a page on it does not belong there",
            Self::Bits => "slab: count, bits and summary disagree",
            Self::Conservation => "objects: more queued or free than there are",
        })
    }
}

impl core::error::Error for Broken {}

impl Slubq {
    /// Walks everything. In a child of `fork`, what other threads were freeing at that moment shows as [`Broken::Bits`] or
    /// [`Broken::Listed`]: it is lost to the child, and does no harm.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn check(&self) -> Result<(), Broken> {
        if !self.pages.check() {
            return Err(Broken::Pages);
        }
        self.caches().try_for_each(|cache| self.check_cache(cache))
    }

    /// Walks one cache.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn check_cache(&self, cache: &Cache) -> Result<(), Broken> {
        for (home, shard) in cache.shards.iter().enumerate() {
            check_shard(cache, home, shard)?;
        }
        let info = self.cache_info(cache);
        let out = info.free + info.queued + info.shared;
        if out > info.objects || info.partial > info.slabs || !self.percpu.check(cache.slot()) {
            return Err(Broken::Conservation);
        }
        Ok(())
    }
}

fn check_shard(cache: &Cache, home: usize, shard: &Shard) -> Result<(), Broken> {
    let list = shard.lock();
    if !list.check() {
        return Err(Broken::List);
    }
    list.pages().try_for_each(|page| check_listed(cache, home, page))
}

fn check_listed(cache: &Cache, home: usize, page: &Page) -> Result<(), Broken> {
    let ours = page.kind() == Kind::Slab && core::ptr::eq(page.owner().cast(), cache);
    if !ours || page.home.load(Ordering::Relaxed) as usize != home {
        return Err(Broken::Listed);
    }
    // SAFETY: a slab of this cache, as just verified; its list is locked.
    let slab = unsafe { Slab::new(page, &cache.geometry) };
    let state = slab.state();
    if !state.is_listed() || state.free() < 0 || state.free() > cache.geometry.objects as i32 {
        return Err(Broken::Listed);
    }
    if slab.check() { Ok(()) } else { Err(Broken::Bits) }
}
