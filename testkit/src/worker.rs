//! The threads of a stress run.

use crate::block::Block;
use crate::exec::Exec;
use crate::generate::OpGen;
use crate::op::Op;
use crate::rng::SplitMix64;
use crate::shards::ShardOracle;
use crate::stress::{Place, Shared};
use crate::violation::Violation;
use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::thread::{Scope, ScopedJoinHandle};

/// Blocks that may wait for a lane before others keep theirs.
const MAIL_LIMIT: usize = 64;

/// Operations between two looks at the mail.
const MAIL_EVERY: usize = 16;

/// Starts a life of a lane; its handle goes to `births`.
pub(crate) fn spawn<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    shared: &'scope Shared<'env>,
    births: &Sender<ScopedJoinHandle<'scope, ()>>,
    lane: usize,
    life: usize,
) {
    let heirs = births.clone();
    let handle = scope.spawn(move || {
        live(shared, lane, life);
        // The successor starts while this thread is still dying: the teardown
        // of its thread locals is part of the test.
        if life + 1 < lives(shared) && !shared.stop.load(Relaxed) {
            spawn(scope, shared, &heirs, lane, life + 1);
        }
    });
    // The receiver only goes away when the run itself panics.
    let _ = births.send(handle);
}

fn lives(shared: &Shared<'_>) -> usize {
    if shared.config.respawn { shared.config.lives.max(1) } else { 1 }
}

/// One life: works, reports, and turns a panic of the subject into a failure.
fn live(shared: &Shared<'_>, lane: usize, life: usize) {
    let mut worker = Worker::new(shared, lane, life);
    let outcome = catch_unwind(AssertUnwindSafe(|| worker.work(quota(shared, lane, life))));
    shared.account(&worker.exec.report);
    let cause = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(cause)) => cause,
        Err(payload) => Violation::Panicked(message(&*payload)),
    };
    let (index, op) = worker.last;
    let thread = lane;
    shared.fail(cause, Some(Place { thread, life, index, op }));
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "with something that is no text".to_owned())
}

/// Operations of a life. Lanes die at different times, in the midst of the
/// work of others.
fn quota(shared: &Shared<'_>, lane: usize, life: usize) -> usize {
    let (ops, lives) = (shared.config.ops_per_thread, lives(shared));
    let stagger = ops / lives * lane / shared.config.threads;
    let end = |life: usize| match life {
        0 => 0,
        _ if life == lives => ops,
        _ => ops * life / lives - stagger,
    };
    end(life + 1) - end(life)
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    lane: usize,
    ops: OpGen,
    rng: SplitMix64,
    exec: Exec<'a, ShardOracle<'a>>,
    last: (usize, Op),
    inbox: Vec<Block>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared<'a>, lane: usize, life: usize) -> Self {
        let config = shared.config;
        let mut rng = SplitMix64::new(config.seed ^ ((lane * lives(shared) + life) as u64) << 32);
        let oracle = ShardOracle::new(&shared.shards, rng.next_u64());
        Self {
            shared,
            lane,
            ops: OpGen::new(rng.next_u64(), config.profile).with_passes(config.pass_percent),
            rng,
            exec: Exec::new(shared.subject, oracle, config.slots),
            last: (0, Op::Check),
            inbox: Vec::new(),
        }
    }

    fn work(&mut self, quota: usize) -> Result<(), Violation> {
        for at in 0..quota {
            if self.shared.stop.load(Relaxed) {
                return Ok(());
            }
            self.step(at)?;
        }
        self.exec.verify()?;
        self.bequeath();
        Ok(())
    }

    fn step(&mut self, at: usize) -> Result<(), Violation> {
        if at.is_multiple_of(MAIL_EVERY) {
            self.receive()?;
        }
        let op = self.ops.next().unwrap_or(Op::Check);
        self.last = (at, op);
        if let Op::Pass { slot } = op {
            self.pass(slot);
        }
        self.exec.apply(op)
    }

    /// Hands a block over to any other thread that has room for it.
    fn pass(&mut self, slot: u16) {
        let lanes = self.shared.config.threads;
        // A lone thread sends to itself.
        let step = 1 + self.rng.below(lanes - 1);
        let mut mail = self.shared.mail((self.lane + step) % lanes);
        if mail.len() < MAIL_LIMIT
            && let Some(block) = self.exec.take(slot)
        {
            mail.push(block);
            self.exec.report.passes += 1;
        }
    }

    /// Frees half of the blocks handed over to this thread, and keeps half.
    fn receive(&mut self) -> Result<(), Violation> {
        let mut inbox = mem::take(&mut self.inbox);
        mem::swap(&mut inbox, &mut *self.shared.mail(self.lane));
        for block in inbox.drain(..) {
            // SAFETY: the sender owned this live, filled block and gave it up.
            unsafe { block.verify()? };
            match self.rng.next_u64() {
                dice if dice >> 63 == 0 => self.exec.put(dice as u16, block)?,
                _ => self.exec.release(block)?,
            }
        }
        self.inbox = inbox;
        Ok(())
    }

    /// Leaves all blocks to the next lane, or to the end of the run.
    fn bequeath(&mut self) {
        let heir = (self.lane + 1) % self.shared.config.threads;
        let mut mail = self.shared.mail(heir);
        mail.extend(self.exec.take_all());
    }
}
