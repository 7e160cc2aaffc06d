//! Coming up, and `fork`.

use crate::slab::Slab;
use kmem_base::boot::{bring_up, configure, more_rows};
use kmem_base::cacheline::cache_line;
use kmem_base::knobs::Settings;
use kmem_base::percpu::Mode;
use kmem_base::sync::Ordering;
use kmem_base::topology::Topology;

impl Slab {
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
        self.nodes.set(&topology);
        self.numa.store(u32::from(topology.nodes > 1), Ordering::Relaxed);
        self.line.store(cache_line() as u32, Ordering::Relaxed);
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
        self.due.store(0, Ordering::Relaxed);
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
            cache.nodes.iter().for_each(crate::node::Node::prepare_fork);
        }
        for cache in self.caches() {
            cache.nodes.iter().flat_map(|node| node.aliens).for_each(crate::shared::Alien::prepare_fork);
            cache.depots.iter().for_each(crate::depot::Depot::prepare_fork);
        }
        self.grace.prepare_fork();
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
            self.grace.after_fork();
            for cache in self.caches() {
                cache.depots.iter().for_each(|depot| depot.after_fork());
                cache.nodes.iter().flat_map(|node| node.aliens).for_each(|alien| alien.after_fork());
                cache.nodes.iter().for_each(|node| node.after_fork());
            }
            self.percpu.after_fork();
            if child {
                self.boot.after_fork();
                self.caches().for_each(|cache| cache.visitors.after_fork());
                // The pass that another thread was in, if any, goes on in the parent alone.
                self.reaping.store(0, Ordering::Relaxed);
            }
            self.registry.release();
        }
    }
}
