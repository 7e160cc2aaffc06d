//! kmem-slab: caches of both front ends, constructed, type-safe and checked ones, tuned, debugged, reaped and shrunk, over a system that
//! refuses and constructors that unwind.

mod handle;
mod op;
mod pool;

use crate::decode;
use crate::made::{Made, construct, destruct, guarded};
use crate::world::World;
use arbitrary::{Result, Unstructured};
use handle::Handle;
use kmem_base::classes::Class;
use kmem_base::config::MAX_SMALL;
use kmem_base::knobs::{Knob, Settings};
use kmem_base::percpu::on_cpu;
use kmem_base::source::Plan;
use kmem_slab::{CreateError, DebugError, Flags, Mempool, Pinned, RawCache, Slab, Spec, TuneError, TuneLineError};
use kmem_testkit::Shadow;
use op::{Op, Shape};
use pool::Pool;
use std::alloc::Layout;
use std::collections::VecDeque;
use std::ptr;

/// Caches at a time.
const CACHES: usize = 8;
/// Readers at a time.
const READERS: usize = 4;
/// Bytes of objects held at a time.
const MOST: usize = 6 << 20;
/// The largest limit of an array.
const MOST_QUEUED: u32 = 8191;

/// A reader, and the type-safe objects that were freed since it is there.
struct Reader {
    _pinned: Pinned<'static>,
    freed: Vec<(&'static RawCache, usize)>,
}

struct Caches {
    world: World<Slab>,
    shadow: Shadow,
    handles: [Option<Handle>; CACHES],
    readers: VecDeque<Reader>,
    /// Caches made so far, for their names.
    made: u32,
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

/// Knobs that kmem-slab listens to.
const KNOBS: [Knob; 10] = [
    Knob::PerCpu,
    Knob::Cpus,
    Knob::Queues,
    Knob::Check,
    Knob::ArenaMb,
    Knob::Nodes,
    Knob::Thp,
    Knob::DecayMs,
    Knob::Front,
    Knob::LimitMb,
];

impl Caches {
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let count = u.arbitrary::<u8>()? % 5;
        let mut settings = Settings::new().with(Knob::ArenaMb, 64);
        for _ in 0..count {
            let knob = *u.choose(&KNOBS)?;
            let value = decode::value(u, knob)?;
            decode::trace(&(knob, value));
            settings = settings.with(knob, value);
        }
        on_cpu(Some(0));
        let world = World::new(Slab::new);
        assert!(world.it.start(&settings), "nothing failed yet");
        let limited = world.it.knobs().get(Knob::LimitMb) != 0;
        let (handles, readers) = ([const { None }; CACHES], VecDeque::new());
        Ok(Self { world, shadow: Shadow::new(), handles, readers, made: 0, failing: false, limited })
    }

    fn step(&mut self, op: Op) {
        decode::trace(&op);
        let slab = self.world.it;
        match op {
            Op::Create(at, shape) => self.create(at, shape),
            Op::Destroy(at) => self.destroy(at),
            Op::Alloc(at) => self.with(at, Self::alloc),
            Op::AllocBulk(at, count) => self.with(at, |caches, handle| caches.alloc_bulk(handle, count)),
            Op::Free(at, which) => self.with(at, |caches, handle| {
                let freed = handle.free(slab, &mut caches.shadow, which);
                caches.freed(handle, freed);
            }),
            Op::FreeBulk(at, count) => self.with(at, |caches, handle| {
                let freed = handle.free_bulk(slab, &mut caches.shadow, count);
                caches.freed(handle, freed);
            }),
            Op::Pool(at, count) => self.with(at, |caches, handle| caches.pool(handle, count)),
            Op::Draw(at) => self.with_pool(at, |caches, handle, pool| {
                let may_fail = caches.may_fail();
                pool.draw(handle, &mut caches.shadow, may_fail);
            }),
            Op::Return(at, which) => self.with_pool(at, |caches, handle, pool| pool.give(handle, &mut caches.shadow, which)),
            Op::Unpool(at) => self.with(at, |caches, handle| {
                if let Some(pool) = handle.pool.take() {
                    pool.close(handle, &mut caches.shadow);
                }
            }),
            Op::Tune(at, limit, batch, shared, text) => self.with(at, |caches, handle| {
                caches.tune(handle.cache, [limit.into(), batch.into(), shared.into()], text);
            }),
            Op::Debug(at, flags) => self.with(at, |caches, handle| caches.debug(handle, flags)),
            Op::Fuse(at, constructor, count) => self.with(at, |_, handle| handle.light(constructor, count)),
            Op::Shrink(at) => self.with(at, |_, handle| ignore(guarded(|| slab.shrink(handle.cache)))),
            Op::Trim => ignore(guarded(|| slab.trim())),
            Op::TrimSlabs => ignore(guarded(|| slab.trim_slabs())),
            Op::Reap => ignore(guarded(|| slab.reap_tick())),
            Op::Pin if self.readers.len() < READERS => self.readers.push_back(Reader { _pinned: slab.pin(), freed: Vec::new() }),
            Op::Pin => {}
            Op::Unpin => ignore(self.readers.pop_front()),
            Op::Move(cpu) => on_cpu(Some(u32::from(cpu % 20))),
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

    fn with_pool(&mut self, at: u8, f: impl FnOnce(&mut Self, &Handle, &mut Pool)) {
        self.with(at, |caches, handle| {
            if let Some(mut pool) = handle.pool.take() {
                f(caches, handle, &mut pool);
                handle.pool = Some(pool);
            }
        });
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
        if shape.general {
            return self.general(at, shape.size.clamp(1, MAX_SMALL));
        }
        let made = (shape.constructed && shape.size > 0).then(|| Box::new(Made::new(shape.size)));
        self.made += 1;
        let name = format!("fuzz-{}", self.made);
        let mut spec = Spec::new(&name, shape.size, shape.align).with(shape.flags);
        if let Some(front) = shape.front {
            spec = spec.behind(front);
        }
        let destructor = made.is_some() && shape.destructor;
        if let Some(made) = &made {
            // SAFETY: the handle keeps it until the cache is destroyed.
            spec = unsafe { spec.constructed(Some(construct), destructor.then_some(destruct as _), made.context()) };
        }
        match self.world.it.create(&spec) {
            Ok(cache) => {
                let layout = Layout::from_size_align(shape.size, shape.align).expect("the cache took it");
                self.handles[at] = Some(Handle::new(cache, layout, false, made, destructor));
            }
            Err(CreateError::Layout) => assert!(shape.size > 256 << 10 || shape.align > 64 << 10),
            Err(CreateError::Flags) => assert!(shape.flags.has(Flags::TYPESAFE) && destructor),
            Err(CreateError::NoMemory) => assert!(self.may_fail()),
            Err(CreateError::TooMany) => panic!("there are a few caches only"),
        }
    }

    fn general(&mut self, at: usize, size: usize) {
        let class = Class::of(size);
        match self.world.it.general(class) {
            Some(cache) => {
                let layout = Layout::from_size_align(size, 1).expect("a small size");
                self.handles[at] = Some(Handle::new(cache, layout, true, None, false));
            }
            None => assert!(self.may_fail()),
        }
    }

    fn destroy(&mut self, at: u8) {
        let at = usize::from(at) % CACHES;
        let Some(mut handle) = self.handles[at].take() else { return };
        if handle.general {
            return handle.clear(self.world.it, &mut self.shadow);
        }
        // SAFETY: the handle is the user of the cache, and is dropped if this succeeds.
        match guarded(|| unsafe { self.world.it.destroy(handle.cache) }) {
            None => self.handles[at] = Some(handle),
            Some(Ok(())) => {
                assert_eq!(handle.live(), 0, "a cache in use was destroyed");
                handle.gone();
            }
            Some(Err(busy)) => {
                assert!(busy.live == handle.live() && busy.live > 0, "{busy}");
                self.handles[at] = Some(handle);
            }
        }
    }

    fn alloc(&mut self, handle: &mut Handle) {
        if self.shadow.live_bytes() + handle.layout.size() > MOST {
            return;
        }
        match guarded(|| self.world.it.alloc_object(handle.cache)) {
            Some(object) if object.is_null() => assert!(self.may_fail(), "refused without need"),
            Some(object) => handle.take(&mut self.shadow, object),
            None => {}
        }
    }

    fn alloc_bulk(&mut self, handle: &mut Handle, count: u16) {
        let count = usize::from(count).min(MOST.saturating_sub(self.shadow.live_bytes()) / handle.cache.geometry().size as usize);
        let mut out = vec![ptr::null_mut(); count];
        let Some(done) = guarded(|| self.world.it.alloc_bulk(handle.cache, &mut out)) else { return };
        assert!(done == count || self.may_fail(), "refused without need");
        out[..done].iter().for_each(|object| handle.take(&mut self.shadow, *object));
    }

    /// Remembers for every reader what was freed while it is there.
    fn freed(&mut self, handle: &Handle, objects: impl IntoIterator<Item = usize>) {
        if handle.is_typesafe() {
            let objects: Vec<_> = objects.into_iter().map(|object| (handle.cache, object)).collect();
            self.readers.iter_mut().for_each(|reader| reader.freed.extend(&objects));
        }
    }

    fn pool(&self, handle: &mut Handle, count: u16) {
        let room = MOST / 2 / handle.cache.geometry().size as usize;
        if handle.pool.is_some() || usize::from(count) > room {
            return;
        }
        match guarded(|| Mempool::new(self.world.it, handle.cache, count.into())) {
            Some(Some(pool)) => handle.pool = Some(Pool::new(pool, count.into())),
            Some(None) => assert!(count == 0 || self.may_fail(), "refused without need"),
            None => {}
        }
    }

    fn tune(&self, cache: &RawCache, values: [u32; 3], text: bool) {
        let slab = self.world.it;
        let [limit, batch, shared] = values;
        let fits = (1..=MOST_QUEUED).contains(&limit) && (1..=limit).contains(&batch) && shared * batch <= MOST_QUEUED;
        let result = guarded(|| match text {
            true => slab.tune_line(&format!("{} {limit} {batch} {shared}\n", cache.name())).map_err(|error| match error {
                TuneLineError::Refused(error) => error,
                other => panic!("{other}"),
            }),
            false => slab.tune(cache, limit, batch, shared),
        });
        match result {
            Some(Ok(())) => {
                let row = slab.row(cache);
                assert!(fits && row.limit == limit as usize && row.sharedfactor == shared as usize);
            }
            Some(Err(TuneError::Value)) => assert!(!fits),
            Some(Err(TuneError::Checked)) => assert_ne!(cache.geometry().debug, Flags::NONE),
            Some(Err(TuneError::Unsupported)) => panic!("CPUs can be interrupted"),
            None => {}
        }
    }

    fn debug(&self, handle: &Handle, flags: Flags) {
        let slab = self.world.it;
        match guarded(|| slab.set_debug(handle.cache, flags)) {
            Some(Ok(())) => assert!(handle.live() == 0 && handle.cache.flags().has(flags)),
            Some(Err(DebugError::InUse)) => assert_ne!(slab.cache_info(handle.cache).slabs(), 0),
            Some(Err(DebugError::Unsupported)) => assert!(self.may_fail()),
            None => {}
        }
    }

    /// Every invariant, every byte, and exactly as many objects in use as there are.
    fn check(&self) {
        let slab = self.world.it;
        slab.check().unwrap_or_else(|broken| panic!("{broken}"));
        // SAFETY: every object freed was announced.
        unsafe { self.shadow.verify_all() }.unwrap_or_else(|wrong| panic!("{wrong}"));
        for handle in self.handles.iter().flatten() {
            if !handle.general {
                assert_eq!(slab.live_objects(handle.cache), handle.live(), "{}", handle.cache.name());
            }
            handle.check_made(slab);
            slab.verify(handle.cache).unwrap_or_else(|damage| panic!("{damage}"));
        }
        for (cache, object) in self.readers.iter().flat_map(|reader| &reader.freed) {
            let owner = slab.pages().slab_of(ptr::from_ref(*cache).cast(), *object);
            assert!(owner.is_ok(), "memory of a type-safe cache went away under a reader");
        }
    }

    fn finish(mut self) {
        self.check();
        self.world.plan(Plan::Never);
        let slab = self.world.it;
        for at in 0..CACHES as u8 {
            self.with(at, |caches, handle| handle.clear(slab, &mut caches.shadow));
        }
        self.check();
        // Once more for those whose destructor unwinds.
        (0..2 * CACHES as u8).for_each(|at| self.destroy(at));
        assert!(self.handles.iter().all(Option::is_none));
        self.readers.clear();
        slab.synchronize();
        slab.trim();
        slab.for_each_cache(|cache| assert_eq!(slab.cache_info(cache).objects, 0, "{} keeps objects", cache.name()));
        assert_eq!(slab.waiting_slabs(), 0);
        // Metadata comes in chunks, of which the end may not be used.
        assert!(slab.page_stats().used <= 2 * slab.metadata() + (256 << 10), "pages are lost");
        self.check();
    }
}

/// How many pages or bytes went back is the allocator's own affair.
fn ignore<T>(_released: Option<T>) {}
