//! Coming up: what every allocator over this ground does before its first allocation.
//!
//! `Down -> Starting -> Up`, or back to `Down` if there was no memory. One thread starts; others wait for it.

use crate::config::KEPT_AFTER;
use crate::environment::variable;
use crate::knobs::{Knob, Knobs, Settings};
use crate::pages::{Pages, Thp};
use crate::percpu::PerCpu;
use crate::sync::{AtomicU32, Ordering, const_fn, relax};
use crate::topology::{Topology, possible_cpus};

const DOWN: u32 = 0;
const STARTING: u32 = 1;
const UP: u32 = 2;

/// Most memory nodes that are kept apart.
const MAX_NODES: u32 = 16;

/// How far an allocator has come.
#[derive(Debug)]
pub struct Boot(AtomicU32);

impl Boot {
    const_fn! {
        /// Down.
        #[must_use]
        pub const fn new() -> Self {
            Self(AtomicU32::new(DOWN))
        }
    }

    /// True once all is up.
    #[inline]
    #[must_use]
    pub fn is_up(&self) -> bool {
        // Acquire pairs with the Release in `start`.
        self.0.load(Ordering::Acquire) == UP
    }

    /// Sets everything up with `set_up`, unless another thread does or has done so. False if there was no memory for it.
    #[cold]
    pub fn start(&self, set_up: impl FnOnce() -> bool) -> bool {
        let mut round = 0;
        loop {
            match self.0.compare_exchange(DOWN, STARTING, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    let up = set_up();
                    self.0.store(if up { UP } else { DOWN }, Ordering::Release);
                    return up;
                }
                Err(UP) => return true,
                Err(_) => relax(&mut round),
            }
        }
    }

    /// In a child of `fork`: the thread does not exist that was starting, if one was; the next one starts anew.
    pub fn after_fork(&self) {
        let _was_starting = self.0.compare_exchange(STARTING, DOWN, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Default for Boot {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads the knobs, asks for the topology and maps the rows. `None` if there is no memory for them.
pub fn bring_up(knobs: &Knobs, settings: &Settings, pages: &Pages, percpu: &PerCpu) -> Option<Topology> {
    knobs.start(settings);
    if let Some(text) = variable(c"KMEM_CONF").and_then(|text| text.to_str().ok()) {
        knobs.configure(text);
    }
    configure(knobs, pages);
    let detected = Topology::detect();
    let topology = match knobs.get(Knob::Nodes) as u32 {
        0 => Topology { nodes: detected.nodes.clamp(1, MAX_NODES), ..detected },
        nodes => Topology { nodes: nodes.min(MAX_NODES), fake: true, ..detected },
    };
    let (cpus, most) = match knobs.get(Knob::Cpus) as u32 {
        0 => (topology.cpus, topology.most),
        cpus => (cpus, cpus),
    };
    let up = percpu.boot_with_room(pages.source(), cpus, most, knobs.get(Knob::PerCpu) == 1);
    up.then_some(Topology { cpus, most, ..topology })
}

/// Puts into effect what the knobs say of the page supply.
pub fn configure(knobs: &Knobs, pages: &Pages) {
    let bytes = |knob: Knob, unit: u32| (knobs.get(knob) as usize) << unit;
    let thp = Thp::of(knobs.get(Knob::Thp));
    pages.configure(bytes(Knob::ArenaMb, 20), bytes(Knob::LimitMb, 20), bytes(Knob::HugeKb, 10), thp);
    let queues = knobs.on(Knob::Queues) && !knobs.on(Knob::Check);
    pages.keep_runs(if queues { KEPT_AFTER } else { u32::MAX });
}

/// Gives the CPUs queues that this process was not allowed to run on at first. For a thread that has found itself on one of them.
pub fn more_rows(pages: &Pages, percpu: &PerCpu) {
    if percpu.has_room() {
        percpu.extend(pages.source(), possible_cpus);
    }
}
