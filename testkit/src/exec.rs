//! Executes operations on a table of slots, under the eyes of an oracle.

use crate::block::Block;
use crate::op::Op;
use crate::oracle::{Oracle, resized};
use crate::subject::Subject;
use crate::violation::Violation;
use std::alloc::Layout;
use std::mem;
use std::ptr;

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Operations executed.
    pub ops: usize,
    /// Blocks allocated.
    pub allocs: usize,
    /// Blocks freed.
    pub frees: usize,
    /// Blocks reallocated.
    pub reallocs: usize,
    /// Requests answered by null.
    pub nulls: usize,
    /// Blocks handed over to another thread.
    pub passes: usize,
    /// The most blocks live at any time.
    pub peak_blocks: usize,
    /// The most bytes live at any time.
    pub peak_bytes: usize,
}

impl Report {
    /// Adds the counts of another part of the same run.
    pub(crate) fn add(&mut self, other: &Report) {
        self.ops += other.ops;
        self.allocs += other.allocs;
        self.frees += other.frees;
        self.reallocs += other.reallocs;
        self.nulls += other.nulls;
        self.passes += other.passes;
    }
}

/// A table of blocks and all that is needed to work on it.
pub(crate) struct Exec<'a, O> {
    pub(crate) subject: &'a dyn Subject,
    pub(crate) oracle: O,
    pub(crate) report: Report,
    slots: Vec<Option<Block>>,
    scratch: Vec<*mut u8>,
}

impl<'a, O: Oracle> Exec<'a, O> {
    pub(crate) fn new(subject: &'a dyn Subject, oracle: O, slots: usize) -> Self {
        assert!(slots > 0, "a table needs a slot");
        let slots = vec![None; slots];
        Self { subject, oracle, report: Report::default(), slots, scratch: Vec::new() }
    }

    /// Executes one operation; `Check` verifies the blocks of this table, and
    /// `Pass` is up to the driver.
    pub(crate) fn apply(&mut self, op: Op) -> Result<(), Violation> {
        self.report.ops += 1;
        match op {
            Op::Alloc { slot, size, align, zeroed } => self.alloc(slot, Op::layout(size, align), zeroed),
            Op::Free { slot } => self.free(slot),
            Op::Realloc { slot, size } => self.realloc(slot, Op::size(size)),
            Op::AllocBatch { slot, count, size } => self.alloc_batch(slot, count, Op::batch_layout(size)),
            Op::FreeBatch { slot, count } => self.free_batch(slot, count),
            Op::Check => self.verify(),
            Op::Trim => {
                self.subject.trim();
                Ok(())
            }
            Op::Drain => {
                self.subject.drain();
                Ok(())
            }
            Op::Pass { .. } => Ok(()),
        }
    }

    /// Takes the block out of a slot.
    pub(crate) fn take(&mut self, slot: u16) -> Option<Block> {
        let slots = self.slots.len();
        self.slots[usize::from(slot) % slots].take()
    }

    /// Keeps a live block in a slot, and frees the one before.
    pub(crate) fn put(&mut self, slot: u16, block: Block) -> Result<(), Violation> {
        self.free(slot)?;
        let slots = self.slots.len();
        self.slots[usize::from(slot) % slots] = Some(block);
        Ok(())
    }

    /// Takes all blocks out of the table.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Block> + use<'_, 'a, O> {
        self.slots.iter_mut().filter_map(Option::take)
    }

    /// Frees a block that is in no slot.
    pub(crate) fn release(&mut self, block: Block) -> Result<(), Violation> {
        // SAFETY: drivers own the blocks they hold, and hold live ones only;
        // this one is forgotten here.
        unsafe {
            self.oracle.freeing(&block)?;
            self.subject.dealloc(block.ptr, block.layout);
        }
        self.report.frees += 1;
        Ok(())
    }

    /// Frees all blocks of the table.
    pub(crate) fn free_all(&mut self) -> Result<(), Violation> {
        for at in 0..self.slots.len() {
            if let Some(block) = self.slots[at].take() {
                self.release(block)?;
            }
        }
        Ok(())
    }

    /// Verifies the contents of all blocks of the table.
    pub(crate) fn verify(&self) -> Result<(), Violation> {
        // SAFETY: blocks in slots are live, owned, and filled by the oracle.
        self.slots.iter().flatten().try_for_each(|block| unsafe { block.verify() })
    }

    fn free(&mut self, slot: u16) -> Result<(), Violation> {
        self.take(slot).map_or(Ok(()), |block| self.release(block))
    }

    fn alloc(&mut self, slot: u16, layout: Layout, zeroed: bool) -> Result<(), Violation> {
        self.free(slot)?;
        let layout = self.subject.layout(layout);
        // SAFETY: layouts of operations are not empty.
        let ptr = unsafe { if zeroed { self.subject.alloc_zeroed(layout) } else { self.subject.alloc(layout) } };
        if ptr.is_null() {
            return self.refused(layout);
        }
        self.adopt(slot, ptr, layout, zeroed)
    }

    /// Records a block that the subject has returned.
    fn adopt(&mut self, slot: u16, ptr: *mut u8, layout: Layout, zeroed: bool) -> Result<(), Violation> {
        // SAFETY: it is what the subject returned for this layout.
        let block = unsafe { self.oracle.allocated(ptr, layout, zeroed)? };
        self.report.allocs += 1;
        self.put(slot, block)
    }

    fn refused(&mut self, layout: Layout) -> Result<(), Violation> {
        self.report.nulls += 1;
        if self.subject.may_fail() { Ok(()) } else { Err(Violation::Null { layout }) }
    }

    fn realloc(&mut self, slot: u16, size: usize) -> Result<(), Violation> {
        let Some(old) = self.take(slot) else {
            return Ok(());
        };
        let wanted = Layout::from_size_align(size, old.layout.align());
        let size = wanted.map_or(old.layout.size(), |wanted| self.subject.layout(wanted).size());
        // SAFETY: `old` is live and owned by this table, `size` is not 0, and
        // the oracle hears of each step in order.
        let new = unsafe {
            self.oracle.reallocating(&old)?;
            let ptr = self.subject.realloc(old.ptr, old.layout, size);
            if ptr.is_null() {
                self.oracle.realloc_failed(&old)?;
                self.refused(resized(old.layout, size))?;
                old
            } else {
                self.report.reallocs += 1;
                self.oracle.reallocated(&old, ptr, size)?
            }
        };
        self.put(slot, new)
    }

    fn alloc_batch(&mut self, slot: u16, count: u16, layout: Layout) -> Result<(), Violation> {
        self.free_batch(slot, count)?;
        let layout = self.subject.layout(layout);
        let count = usize::from(count).min(self.slots.len());
        let mut out = mem::take(&mut self.scratch);
        out.clear();
        out.resize(count, ptr::null_mut());
        // SAFETY: layouts of operations are not empty.
        let done = unsafe { self.subject.alloc_batch(layout, &mut out) }.min(count);
        for (at, &ptr) in (0..).zip(&out[..done]) {
            self.adopt(slot.wrapping_add(at), ptr, layout, false)?;
        }
        self.scratch = out;
        if done < count { self.refused(layout) } else { Ok(()) }
    }

    fn free_batch(&mut self, slot: u16, count: u16) -> Result<(), Violation> {
        let count = usize::from(count).min(self.slots.len()) as u16;
        let mut run = mem::take(&mut self.scratch);
        run.clear();
        let mut layout = None;
        for at in 0..count {
            let Some(block) = self.take(slot.wrapping_add(at)) else {
                continue;
            };
            if let Some(layout) = layout.replace(block.layout)
                && layout != block.layout
            {
                self.flush(&mut run, layout);
            }
            // SAFETY: the block is live and was owned by this table.
            unsafe { self.oracle.freeing(&block)? };
            run.push(block.ptr);
        }
        if let Some(layout) = layout {
            self.flush(&mut run, layout);
        }
        self.scratch = run;
        Ok(())
    }

    /// Frees blocks that the oracle has already forgotten.
    fn flush(&mut self, run: &mut Vec<*mut u8>, layout: Layout) {
        // SAFETY: they were live, distinct, and of this layout.
        unsafe { self.subject.dealloc_batch(run, layout) };
        self.report.frees += run.len();
        run.clear();
    }
}
