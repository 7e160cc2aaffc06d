//! Caches: coming, going, shared, constructed, tuned, reserved from, over a system that refuses and constructors that unwind.

mod handle;
mod op;

use crate::decode;
use crate::made::{Made, construct, destruct, guarded};
use crate::world::World;
use arbitrary::{Result, Unstructured};
use handle::Handle;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::source::Plan;
use kmem_slubq::{Cache, CreateError, Level, Slubq, Spec, Tunable, TuneError};
use kmem_testkit::Shadow;
use op::{Op, Shape};
use std::ptr;

/// Caches at a time.
const CACHES: usize = 8;
/// Bytes of objects held at a time.
const MOST: usize = 6 << 20;

struct Caches {
    world: World<Slubq>,
    shadow: Shadow,
    handles: [Option<Handle>; CACHES],
    /// True while the system may refuse.
    failing: bool,
    /// True if there is a limit on memory.
    limited: bool,
}

/// Carries out the operations that `data` stands for.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(mut caches) = Caches::new(&mut u) else { return };
    while !u.is_empty() {
        let Ok(op) = u.arbitrary() else { break };
        caches.step(op);
    }
    caches.finish();
}

impl Caches {
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let count = u.arbitrary::<u8>()? % 5;
        let mut settings = Settings::new().with(Knob::ArenaMb, 64);
        for _ in 0..count {
            let (knob, value) = decode::knob(u)?;
            decode::trace(&(knob, value));
            settings = settings.with(knob, value);
        }
        let world = World::new(Slubq::new);
        assert!(world.it.start(&settings), "nothing failed yet");
        let limited = world.it.knobs().get(Knob::LimitMb) != 0;
        Ok(Self { world, shadow: Shadow::new(), handles: [const { None }; CACHES], failing: false, limited })
    }

    fn step(&mut self, op: Op) {
        decode::trace(&op);
        let slubq = self.world.it;
        match op {
            Op::Create(at, shape) => self.create(at, shape),
            Op::Destroy(at) => self.destroy(at),
            Op::Alloc(at, nowait) => self.with(at, |caches, handle| caches.alloc(handle, nowait)),
            Op::AllocBulk(at, count) => self.with(at, |caches, handle| caches.alloc_bulk(handle, count)),
            Op::Free(at, which) => self.with(at, |caches, handle| handle.free(slubq, &mut caches.shadow, which)),
            Op::FreeBulk(at, count) => self.with(at, |caches, handle| handle.free_bulk(slubq, &mut caches.shadow, count)),
            Op::Reserve(at, count) => self.with(at, |caches, handle| caches.reserve(handle, count)),
            Op::Draw(at) => self.with(at, |caches, handle| handle.draw(&mut caches.shadow)),
            Op::Unreserve(at) => self.with(at, |_, handle| handle.unreserve()),
            Op::Tune(at, tunable, value) => self.with(at, |caches, handle| caches.tune(handle.cache, tunable, value)),
            Op::Fuse(at, constructor, count) => self.with(at, |_, handle| handle.light(constructor, count)),
            Op::Expire(at, level) => self.with(at, |_, handle| ignore(guarded(|| slubq.expire(handle.cache, level)))),
            Op::Shrink(at) => self.with(at, |_, handle| ignore(guarded(|| slubq.shrink(handle.cache)))),
            Op::Trim(level) => ignore(guarded(|| slubq.trim(level))),
            Op::Decay => ignore(guarded(|| slubq.decay())),
            Op::Check => self.check(),
            Op::Fail(plan) => {
                self.failing = plan != Plan::Never;
                self.world.plan(plan);
            }
        }
    }

    /// Calls `f` with the handle `at`, if there is one.
    fn with(&mut self, at: u8, f: impl FnOnce(&mut Self, &mut Handle)) {
        let at = usize::from(at) % CACHES;
        if let Some(mut handle) = self.handles[at].take() {
            f(self, &mut handle);
            self.handles[at] = Some(handle);
        }
    }

    /// Whether null is a right answer.
    fn may_fail(&self) -> bool {
        self.failing || self.limited
    }

    fn create(&mut self, at: u8, shape: Shape) {
        let at = usize::from(at) % CACHES;
        if self.handles[at].is_some() {
            return;
        }
        let made = shape.constructed.then(|| Box::new(Made::new(shape.size)));
        let mut spec = Spec::new("fuzz", shape.size, shape.align).with(shape.flags);
        if let Some(made) = &made {
            // SAFETY: the handle keeps it until the cache is destroyed.
            spec = unsafe { spec.constructed(Some(construct), shape.destructor.then_some(destruct as _), made.context()) };
        }
        match self.world.it.create(&spec) {
            Ok(cache) => {
                assert!(cache.object_size() >= shape.size || cache.geometry().size as usize >= shape.size);
                self.handles[at] = Some(Handle::new(cache, &spec, made, shape.destructor));
            }
            Err(CreateError::Layout) => assert!(shape.size > (256 << 10) - shape.align || shape.align > 64 << 10),
            Err(CreateError::NoMemory) => assert!(self.may_fail()),
            Err(CreateError::TooMany) => panic!("there are a few caches only"),
        }
    }

    fn destroy(&mut self, at: u8) {
        let at = usize::from(at) % CACHES;
        let Some(mut handle) = self.handles[at].take() else { return };
        let shared = self.handles.iter().flatten().any(|other| ptr::eq(other.cache, handle.cache));
        if shared || handle.is_general() {
            handle.clear(self.world.it, &mut self.shadow);
        }
        // SAFETY: the handle is a user of the cache, and is dropped if this succeeds.
        match guarded(|| unsafe { self.world.it.destroy(handle.cache) }) {
            None => self.handles[at] = Some(handle),
            Some(Ok(())) => {
                assert_eq!(handle.live(), 0, "a cache in use was destroyed");
                handle.gone(shared);
            }
            Some(Err(busy)) => {
                assert_eq!(busy.live, handle.live());
                assert!(busy.live > 0);
                self.handles[at] = Some(handle);
            }
        }
    }

    fn alloc(&mut self, handle: &mut Handle, nowait: bool) {
        if self.shadow.live_bytes() + handle.layout.size() > MOST {
            return;
        }
        let slubq = self.world.it;
        let object = guarded(|| if nowait { slubq.alloc_nowait(handle.cache) } else { slubq.alloc_object(handle.cache) });
        match object {
            Some(object) if object.is_null() => assert!(nowait || self.may_fail(), "refused without need"),
            Some(object) => handle.take(&mut self.shadow, object),
            None => {}
        }
    }

    fn alloc_bulk(&mut self, handle: &mut Handle, count: u16) {
        let count = usize::from(count).min(MOST.saturating_sub(self.shadow.live_bytes()) / handle.layout.size());
        let mut out = vec![ptr::null_mut(); count];
        let Some(done) = guarded(|| self.world.it.alloc_bulk(handle.cache, &mut out)) else { return };
        assert!(done == count || self.may_fail(), "refused without need");
        out[..done].iter().for_each(|object| handle.take(&mut self.shadow, *object));
    }

    fn reserve(&mut self, handle: &mut Handle, count: u16) {
        let room = (MOST / 2 / handle.layout.size()).min(5000);
        let count = u32::from(count);
        if count as usize > room && count <= 5000 {
            return;
        }
        match guarded(|| self.world.it.reserve(handle.cache, count)) {
            Some(Some(reservation)) => {
                assert_eq!(reservation.len(), count);
                handle.reservations.push(reservation);
            }
            Some(None) => assert!(count == 0 || count > 5000 || self.may_fail(), "refused without need"),
            None => {}
        }
    }

    fn tune(&mut self, cache: &Cache, tunable: Tunable, value: u32) {
        let half = cache.tunable(Tunable::CpuQueueSize).div_ceil(2).max(1);
        let before = cache.tunable(tunable);
        let fits = match tunable {
            Tunable::CpuQueueSize => value <= 10_000,
            Tunable::BatchSize => (1..=half).contains(&value),
            Tunable::SharedQueueSize => value <= 1_000_000,
            Tunable::MinPartial => value <= 1000,
        };
        // A queue that shrinks may release slabs, and a destructor may unwind.
        match guarded(|| self.world.it.tune(cache, tunable, value)) {
            Some(Ok(())) => assert!(fits && cache.tunable(tunable) == value),
            Some(Err(error)) => assert!(!fits && error == TuneError::Value && cache.tunable(tunable) == before),
            None => {}
        }
    }

    /// Every invariant, every byte, and exactly as many objects in use as there are.
    fn check(&self) {
        let slubq = self.world.it;
        slubq.check().unwrap_or_else(|broken| panic!("{broken}"));
        // SAFETY: every object freed was announced.
        unsafe { self.shadow.verify_all() }.unwrap_or_else(|wrong| panic!("{wrong}"));
        slubq.for_each_cache(|cache| {
            let handles = self.handles.iter().flatten().filter(|handle| ptr::eq(handle.cache, cache));
            assert_eq!(slubq.live_objects(cache), handles.map(Handle::live).sum::<usize>(), "{}", cache.name());
        });
        self.handles.iter().flatten().for_each(|handle| handle.check_made(slubq));
    }

    fn finish(mut self) {
        self.check();
        self.world.plan(Plan::Never);
        for at in 0..CACHES as u8 {
            self.with(at, |caches, handle| handle.clear(caches.world.it, &mut caches.shadow));
        }
        self.check();
        // Once more for those whose destructor unwinds.
        (0..2 * CACHES as u8).for_each(|at| self.destroy(at));
        assert!(self.handles.iter().all(Option::is_none));
        self.world.it.trim(Level::Queues);
        let retained = self.world.it.retained();
        assert_eq!((retained.queues, retained.depots, retained.slabs, retained.pages), (0, 0, 0, 0));
        self.check();
    }
}

/// How many pages or bytes went back is the allocator's own affair.
fn ignore(_released: Option<usize>) {}
