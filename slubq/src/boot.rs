//! Coming up, and `fork`.
//!
//! What is common to allocators is `kmem_base::boot`. Nothing on the way allocates from the global allocator, so that nothing can come
//! back here. The fork handlers are registered when all is up, because registering may allocate; or, by the C library, before anything is:
//! then they find every lock free and nothing else.

use crate::slubq::Slubq;
use kmem_base::boot::{bring_up, configure, more_rows};
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::Mode;
use kmem_base::sync::Ordering;
use kmem_base::topology::Topology;

impl Slubq {
    /// Sets everything up unless that has been done, with `settings` where `KMEM_CONF` says nothing else. False if there is no memory
    /// for it.
    #[inline]
    pub fn start(&self, settings: &Settings) -> bool {
        self.boot.is_up() || self.boot.start(|| self.set_up(settings))
    }

    /// [`Self::start`] with every knob at its default.
    #[inline]
    pub fn ready(&self) -> bool {
        self.start(&const { Settings::new() })
    }

    fn set_up(&self, settings: &Settings) -> bool {
        let Some(topology) = bring_up(&self.knobs, settings, &self.pages, &self.percpu) else { return false };
        self.take_effect();
        self.nodes.set(&topology);
        self.shards.store(shards(self.knobs.get(Knob::Shards) as u32, topology.cpus, topology.nodes), Ordering::Relaxed);
        if self.percpu.mode() == Mode::Locked {
            // Threads share locked rows, and none is ever beyond them.
            self.more_rows();
        }
        true
    }

    /// Gives the CPUs queues that this process was not allowed to run on at first. For a thread that has found itself on one of them.
    pub(crate) fn more_rows(&self) {
        more_rows(&self.pages, &self.percpu);
    }

    /// Puts into effect what the knobs say that can change while running.
    pub fn apply_knobs(&self) {
        configure(&self.knobs, &self.pages);
        self.take_effect();
    }

    /// A new interval begins now.
    fn take_effect(&self) {
        self.due.store(0, Ordering::Relaxed);
        self.set_crowded();
    }

    /// What `set_up` found: at least one node, even before that.
    pub(crate) fn topology(&self) -> Topology {
        self.nodes.topology(self.percpu.cpus())
    }

    /// Takes every lock, in rank order, so that `fork` copies a consistent allocator. Called before `fork` by the thread that forks.
    pub fn prepare_fork(&self) {
        self.registry.acquire();
        self.percpu.prepare_fork();
        for cache in self.caches() {
            cache.shards.iter().for_each(crate::shard::Shard::prepare_fork);
        }
        for cache in self.caches() {
            cache.depots.iter().for_each(crate::depot::Depot::prepare_fork);
        }
        self.blocks.prepare_fork();
        self.meta.prepare_fork();
        self.pages.prepare_fork();
    }

    /// Releases them. Called after `fork` in parent and `child`. What other threads had in hand at that moment is lost to the child; every
    /// queue is as valid as before.
    ///
    /// # Safety
    /// After [`Self::prepare_fork`] in this thread or its parent.
    pub unsafe fn after_fork(&self, child: bool) {
        // SAFETY: the caller's, for each.
        unsafe {
            self.pages.after_fork();
            self.meta.after_fork();
            self.blocks.after_fork();
            for cache in self.caches() {
                cache.depots.iter().for_each(|depot| depot.after_fork());
                cache.shards.iter().for_each(|shard| shard.after_fork());
            }
            self.percpu.after_fork();
            if child {
                self.boot.after_fork();
                // What other threads were at goes on in the parent alone.
                self.decaying.store(0, Ordering::Relaxed);
                self.expiring.store(0, Ordering::Relaxed);
            }
            self.registry.release();
        }
    }
}

/// Shards of each cache: a power of two per node, 64 at most in all.
fn shards(wish: u32, cpus: u32, nodes: u32) -> u32 {
    let per_node = if wish == 0 { cpus.div_ceil(nodes).min(16) } else { wish.div_ceil(nodes) };
    let most = (64 / nodes).max(1);
    nodes * (1 << per_node.clamp(1, most).ilog2())
}

#[cfg(test)]
mod tests {
    use super::shards;

    #[cfg(not(loom))]
    #[test]
    fn a_fork_takes_every_lock_and_frees_it() {
        extern crate std;
        use super::*;
        use crate::cache::{Flags, Spec};
        let slubq: &'static Slubq = std::boxed::Box::leak(std::boxed::Box::new(Slubq::system()));
        let spec = Spec::new("forked", 64, 8).with(Flags::NO_MERGE);
        let cache = slubq.create(&spec).unwrap();
        for child in [false, true] {
            slubq.decaying.store(1, Ordering::Relaxed);
            slubq.prepare_fork();
            assert!(slubq.registry.try_lock().is_none() && cache.shards.iter().all(|shard| shard.try_lock().is_none()));
            // SAFETY: prepared just now, in this thread.
            unsafe { slubq.after_fork(child) };
            assert!(slubq.registry.try_lock().is_some() && cache.shards.iter().all(|shard| shard.try_lock().is_some()));
            assert_eq!(slubq.decaying.swap(0, Ordering::Relaxed) == 0, child, "another thread's pass goes on in the parent alone");
            // Every kind of lock on the way.
            let objects = std::vec::Vec::from_iter((0..2000).map(|_| slubq.alloc_object(cache)));
            // SAFETY: allocated above.
            objects.into_iter().for_each(|object| unsafe { slubq.free_object(cache, object) });
            let other = slubq.create(&spec).unwrap();
            // SAFETY: used no more.
            assert_eq!(unsafe { slubq.destroy(other) }, Ok(()));
            slubq.trim(crate::Level::Queues);
            slubq.check().unwrap();
        }
    }

    #[test]
    fn shards_are_a_power_of_two_per_node() {
        assert_eq!(shards(0, 2, 1), 2);
        assert_eq!(shards(0, 512, 1), 16);
        assert_eq!(shards(0, 64, 4), 64);
        assert_eq!(shards(0, 3, 1), 2);
        assert_eq!(shards(1, 8, 2), 2);
        assert_eq!(shards(64, 8, 16), 64);
    }
}
