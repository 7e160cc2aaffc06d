//! Reservations and bulk operations: the untyped layer below `kmem::Cache`.
//!
//! Some work must not fail half-way: splitting the nodes of a tree, or anything done with a lock held. A reservation sets the
//! objects aside first; between there and their use nothing can fail, wait or ask the system for memory.
//!
//! ```text
//! cargo run --example reservation
//! ```

use kmem::Slubq;
use kmem::slubq::{Cache, Spec};
use std::error::Error;
use std::ptr::null_mut;

/// A node of a stack that other threads would see through a lock.
struct Node {
    value: u64,
    next: *mut Node,
}

/// A stack whose nodes come from a cache.
struct Stack {
    nodes: &'static Cache,
    top: *mut Node,
}

impl Stack {
    /// Pushes all of `values` or none of them.
    fn push_all(&mut self, values: &[u64]) -> Result<(), &'static str> {
        // Here it may fail: nothing has happened yet.
        let mut reserved = Slubq::get().reserve(self.nodes, values.len() as u32).ok_or("out of memory")?;
        // From here on it cannot. (A lock would be taken here.)
        for &value in values {
            let node = reserved.alloc().cast::<Node>();
            // SAFETY: memory of the size and alignment of a `Node` that is ours alone.
            unsafe { node.write(Node { value, next: self.top }) };
            self.top = node;
        }
        // What was not used would go back now.
        Ok(())
    }

    fn pop(&mut self) -> Option<u64> {
        if self.top.is_null() {
            return None;
        }
        let node = self.top;
        // SAFETY: a node that `push_all` wrote; once it is off the stack nobody uses it, and it came from this cache.
        unsafe {
            let Node { value, next } = node.read();
            self.top = next;
            Slubq::get().free_object(self.nodes, node.cast());
            Some(value)
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// Many objects at once: a word of bits of a slab is 64 objects for the price of one.
fn bulk(cache: &'static Cache) {
    let mut objects = [null_mut(); 1000];
    let got = Slubq::get().alloc_bulk(cache, &mut objects);
    println!("{got} objects at once");
    // SAFETY: the first `got` of them came from this cache and are not used again.
    unsafe { Slubq::get().free_bulk(cache, &objects[..got]) };
}

fn main() -> Result<(), Box<dyn Error>> {
    let nodes = Slubq::get().create(&Spec::new("node", size_of::<Node>(), align_of::<Node>()))?;

    let mut stack = Stack { nodes, top: null_mut() };
    stack.push_all(&[1, 2, 3])?;
    stack.push_all(&[10, 20, 30])?;
    let values: Vec<_> = std::iter::from_fn(|| stack.pop()).collect();
    println!("{values:?}");

    bulk(nodes);

    drop(stack);
    // An error if objects are in use.
    // SAFETY: the stack was the last to use the cache, and it is gone.
    unsafe { Slubq::get().destroy(nodes)? };
    Ok(())
}
