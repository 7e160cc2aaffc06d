//! The driver for many threads.

use crate::block::Block;
use crate::exec::{Exec, Report};
use crate::op::Op;
use crate::profile::Profile;
use crate::shards::{ShadowShards, ShardOracle};
use crate::subject::Subject;
use crate::violation::Violation;
use crate::worker;
use std::error::Error;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

/// How a stress run works. `Debug` prints valid Rust.
#[derive(Clone, Debug)]
pub struct StressConfig {
    /// Threads at work at a time.
    pub threads: usize,
    /// Operations of each of them.
    pub ops_per_thread: usize,
    /// Slots of each of them.
    pub slots: usize,
    /// The mix of operations.
    pub profile: Profile,
    /// Seed of all operations; only the interleaving is left to chance.
    pub seed: u64,
    /// How many of 100 operations hand a block over to another thread.
    pub pass_percent: u8,
    /// Whether threads die and are reborn, while others inherit their blocks.
    pub respawn: bool,
    /// How many lives each of them then has.
    pub lives: usize,
}

impl Default for StressConfig {
    fn default() -> Self {
        Self {
            threads: 4,
            ops_per_thread: 50_000,
            slots: 256,
            profile: Profile::Small,
            seed: 1,
            pass_percent: 10,
            respawn: false,
            lives: 4,
        }
    }
}

/// A failed stress run. `Display` and `Debug` print all that is needed to run
/// it again.
#[derive(Clone)]
pub struct StressFailure {
    /// What was wrong.
    pub cause: Violation,
    /// The configuration, with the seed.
    pub config: Box<StressConfig>,
    /// Where it was found; none at the end of the run.
    pub place: Option<Box<Place>>,
}

/// A place in a stress run.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The thread.
    pub thread: usize,
    /// Its life, when threads are reborn.
    pub life: usize,
    /// The index of the operation in that life.
    pub index: usize,
    /// The operation.
    pub op: Op,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thread, life, index, op } = self;
        write!(f, "thread {thread}, life {life}, op {index} {op:?}")
    }
}

impl fmt::Display for StressFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => place.fmt(f)?,
            None => f.write_str("at the end")?,
        }
        let Self { cause, config, .. } = self;
        write!(f, ": {cause}\nseed {}; run again with\n{config:?}", config.seed)
    }
}

impl fmt::Debug for StressFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for StressFailure {}

/// What the threads of a run share.
pub(crate) struct Shared<'a> {
    pub(crate) subject: &'a dyn Subject,
    pub(crate) config: &'a StressConfig,
    pub(crate) shards: ShadowShards,
    pub(crate) stop: AtomicBool,
    mail: Vec<Mutex<Vec<Block>>>,
    report: Mutex<Report>,
    failure: Mutex<Option<StressFailure>>,
}

impl<'a> Shared<'a> {
    fn new(subject: &'a dyn Subject, config: &'a StressConfig) -> Self {
        Self {
            subject,
            config,
            shards: ShadowShards::new(),
            stop: AtomicBool::new(false),
            mail: (0..config.threads).map(|_| Mutex::default()).collect(),
            report: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// The blocks handed over to a thread.
    pub(crate) fn mail(&self, lane: usize) -> MutexGuard<'_, Vec<Block>> {
        lock(&self.mail[lane])
    }

    /// Counts what a thread has done.
    pub(crate) fn account(&self, report: &Report) {
        lock(&self.report).add(report);
    }

    /// Keeps the first failure and stops all threads.
    pub(crate) fn fail(&self, cause: Violation, place: Option<Place>) {
        self.stop.store(true, Relaxed);
        let (config, place) = (Box::new(self.config.clone()), place.map(Box::new));
        lock(&self.failure).get_or_insert(StressFailure { cause, config, place });
    }

    fn failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    /// Frees what is left when all threads are gone, and checks the subject.
    fn finish(&self) -> Result<(), Violation> {
        let oracle = ShardOracle::new(&self.shards, 0);
        let mut exec = Exec::new(self.subject, oracle, 1);
        for lane in 0..self.config.threads {
            for block in mem::take(&mut *self.mail(lane)) {
                exec.release(block)?;
            }
        }
        self.account(&exec.report);
        if self.shards.live_blocks() > 0 {
            return Err(Violation::Leaked { blocks: self.shards.live_blocks() });
        }
        self.subject.check().map_err(Violation::Check)
    }
}

/// A lock of data that stays consistent even if a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets several threads work on one subject at a time.
///
/// Each has its own slots and its own seeded operations, and hands blocks over
/// to others, which verify them and free them or keep them. In the end all is
/// freed, mostly by other threads than allocated it, and the subject is
/// checked.
///
/// # Errors
/// The first violation found. Live blocks are leaked then.
pub fn stress(subject: &dyn Subject, config: &StressConfig) -> Result<Report, StressFailure> {
    assert!(config.threads > 0, "a stress run needs a thread");
    let shared = Shared::new(subject, config);
    thread::scope(|scope| {
        let shared = &shared;
        let (births, born) = mpsc::channel();
        for lane in 0..config.threads {
            worker::spawn(scope, shared, &births, lane, 0);
        }
        drop(births);
        // Joining, other than the end of the scope, also waits for the
        // destructors of thread locals: only then is the subject quiescent.
        for handle in born {
            let handle: thread::ScopedJoinHandle<'_, ()> = handle;
            if handle.join().is_err() {
                shared.fail(Violation::Panicked("outside of operations".into()), None);
            }
        }
    });
    if !shared.failed()
        && let Err(cause) = shared.finish()
    {
        shared.fail(cause, None);
    }
    let (peak_blocks, peak_bytes) = shared.shards.peaks();
    let report = Report { peak_blocks, peak_bytes, ..*lock(&shared.report) };
    let failure = lock(&shared.failure).take();
    failure.map_or(Ok(report), Err)
}

/// As [`stress`].
///
/// # Panics
/// On a violation, with all that is needed to run it again.
pub fn stress_or_panic(subject: &dyn Subject, config: &StressConfig) -> Report {
    stress(subject, config).unwrap_or_else(|failure| panic!("{failure}"))
}
