//! What models of queues and of depots begin with: the rows of two CPUs, and memory for sheaves.

extern crate std;

use super::{PerCpu, Shape, Sheaf, Slot, claimed};
use crate::source::{PageSource, Scratch};
use std::sync::Arc;
use std::vec::Vec;

/// The slot of a model.
pub const SLOT: Slot = Slot::new(0);
/// Its sheaves: one cache line.
pub const SHAPE: Shape = Shape { order: 6, cap: 3 };
/// What they may become: larger.
pub const OTHER: Shape = Shape { order: 7, cap: 9 };

/// Queues, and memory for sheaves.
#[derive(Debug)]
pub struct World {
    /// With [`SLOT`] in [`SHAPE`].
    pub percpu: PerCpu,
    memory: *mut u8,
}

// SAFETY: each thread of a model uses blocks of its own numbers.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

impl World {
    /// One for each execution: rows of two CPUs, or one that is `locked`.
    pub fn new(source: &'static Scratch, locked: bool) -> Arc<Self> {
        source.begin();
        let memory = source.map(4096, 4096).unwrap().as_ptr();
        let percpu = PerCpu::new();
        assert!(percpu.boot(source, if locked { 1 } else { 2 }, locked));
        percpu.shape_first(SLOT, SHAPE, 64);
        Arc::new(Self { percpu, memory })
    }

    /// A sheaf of these objects in block `block`, which nobody else uses.
    pub fn sheaf(&self, block: usize, shape: Shape, objects: &[usize]) -> Sheaf {
        // SAFETY: blocks of 128 bytes, whatever the shape.
        let mut sheaf = unsafe { Sheaf::new(self.memory.add(block * 128), shape) };
        objects.iter().for_each(|object| assert!(sheaf.push(address(*object))));
        claimed(&sheaf);
        sheaf
    }
}

/// Where a model's object would be.
pub fn address(object: usize) -> *mut u8 {
    core::ptr::without_provenance_mut(object * 16)
}

/// The objects in a sheaf that is the caller's.
pub fn objects(sheaf: Option<Sheaf>) -> Vec<usize> {
    sheaf.map_or_else(Vec::new, |sheaf| {
        claimed(&sheaf);
        sheaf.objects().iter().map(|object| object.addr() / 16).collect()
    })
}
