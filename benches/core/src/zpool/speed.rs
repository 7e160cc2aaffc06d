//! Throughput of the pool beside that of its codec alone, and same-filled pages beside others.

use std::collections::VecDeque;
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use kmem_zalloc::codec::{Codec, Lz4};
use kmem_zalloc::pool::{Handle, Pool, Settings};

use super::corpus::PAGE;
use super::{Verdicts, ignore};
use crate::crew::{Job, Kind, race};
use crate::{Result, stats};

/// Rounds of each side, in turns.
const ROUNDS: usize = 11;

type Page<'a> = &'a [u8];

/// Pages stored at a time.
const CHUNK: usize = 64;

/// What one side of a comparison does with its pages.
trait Side<'a>: Send {
    fn store(&mut self, pages: &[Page<'a>]);
    fn load(&mut self);
    /// Ends the oldest ones: what is stored next takes their place.
    fn end(&mut self, pages: usize);
    /// Ends all, and gives their memory back to the system.
    fn clear(&mut self);
}

/// The codec, with a copy of what it has written into memory that is there already.
struct Bare {
    work: <Lz4 as Codec>::Work,
    packed: Vec<u8>,
    memory: Vec<u8>,
    /// Where the next object goes, and where each is.
    at: usize,
    objects: VecDeque<(usize, usize)>,
    out: [u8; PAGE],
}

impl Bare {
    fn new(pages: usize) -> Result<Self> {
        let work = Lz4.work(PAGE).ok_or("no memory")?;
        Ok(Self {
            work,
            packed: vec![0; Lz4.bound(PAGE)],
            memory: vec![0; pages * PAGE],
            at: 0,
            objects: VecDeque::with_capacity(pages),
            out: [0; PAGE],
        })
    }
}

impl<'a> Side<'a> for Bare {
    fn store(&mut self, pages: &[Page<'a>]) {
        for page in pages {
            let written = Lz4.compress(&mut self.work, page, &mut self.packed).filter(|len| *len <= PAGE * 7 / 8);
            let bytes = written.map_or(*page, |len| &self.packed[..len]);
            if self.at + PAGE > self.memory.len() {
                self.at = 0;
            }
            self.memory[self.at..self.at + bytes.len()].copy_from_slice(bytes);
            self.objects.push_back((self.at, bytes.len()));
            self.at += bytes.len();
        }
    }

    fn load(&mut self) {
        for (at, len) in &self.objects {
            let bytes = &self.memory[*at..at + len];
            if *len == PAGE {
                self.out.copy_from_slice(bytes);
            } else {
                black_box(Lz4.decompress(&mut self.work, bytes, &mut self.out));
            }
            black_box(&self.out);
        }
    }

    fn end(&mut self, pages: usize) {
        self.objects.drain(..pages);
    }

    fn clear(&mut self) {
        self.objects.clear();
        self.at = 0;
        self.memory = vec![0; self.memory.len()];
    }
}

struct Pooled<'p> {
    pool: &'p Pool,
    handles: VecDeque<Handle>,
    out: [u8; PAGE],
}

impl<'a> Side<'a> for Pooled<'_> {
    fn store(&mut self, pages: &[Page<'a>]) {
        self.handles.extend(pages.iter().filter_map(|page| self.pool.store(page).ok()));
    }

    fn load(&mut self) {
        for handle in &self.handles {
            let _ = black_box(self.pool.load(*handle, &mut self.out));
            black_box(&self.out);
        }
    }

    fn end(&mut self, pages: usize) {
        self.handles.drain(..pages).for_each(|handle| ignore(self.pool.remove(handle)));
    }

    fn clear(&mut self) {
        self.end(self.handles.len());
        self.pool.spool().trim();
    }
}

/// Seconds to store and to load, medians of several rounds; the first ones are not counted.
struct Times {
    store: Vec<f64>,
    load: Vec<f64>,
}

impl Times {
    fn new() -> Self {
        Self { store: Vec::new(), load: Vec::new() }
    }

    fn add(&mut self, store: Duration, load: Duration) {
        self.store.push(store.as_secs_f64());
        self.load.push(load.as_secs_f64());
    }

    fn medians(&self) -> (f64, f64) {
        // The first rounds fault memory in.
        let median = |times: &[f64]| stats::median(&times[2.min(times.len() - 1)..]).unwrap_or(f64::NAN);
        (median(&self.store), median(&self.load))
    }
}

/// Into memory that the process has already: what is stored takes the place of what was stored a round ago.
fn round_in_use<'a>(side: &mut impl Side<'a>, pages: &[Page<'a>], times: &mut Times, is_first: bool) {
    let mut store = Duration::ZERO;
    for chunk in pages.chunks(CHUNK) {
        if !is_first {
            side.end(chunk.len());
        }
        let clock = Instant::now();
        side.store(chunk);
        store += clock.elapsed();
    }
    let clock = Instant::now();
    side.load();
    times.add(store, clock.elapsed());
}

/// Into memory that the system has to give first.
fn round_fresh<'a>(side: &mut impl Side<'a>, pages: &[Page<'a>], times: &mut Times) {
    side.clear();
    let clock = Instant::now();
    side.store(pages);
    let store = clock.elapsed();
    let clock = Instant::now();
    side.load();
    times.add(store, clock.elapsed());
}

/// The pool beside its codec, on one thread.
pub(super) fn beside_codec(pages: &[Page<'_>], text: &mut String, verdicts: &mut Verdicts) -> Result<()> {
    // Same-filled pages are another figure.
    let pages: Vec<_> = pages.iter().copied().filter(|page| kmem_zalloc::pool::same_filled(page).is_none()).collect();
    let pool = Pool::new(Settings::pages())?;
    let mut bare = Bare::new(pages.len())?;
    let mut pooled = Pooled { pool: &pool, handles: VecDeque::with_capacity(pages.len()), out: [0; PAGE] };
    let mut times = [Times::new(), Times::new(), Times::new(), Times::new()];
    let [alone, with, alone_fresh, with_fresh] = &mut times;
    for round in 0..ROUNDS {
        round_in_use(&mut bare, &pages, alone, round == 0);
        round_in_use(&mut pooled, &pages, with, round == 0);
    }
    for _ in 0..ROUNDS {
        round_fresh(&mut bare, &pages, alone_fresh);
        round_fresh(&mut pooled, &pages, with_fresh);
    }
    let rate = |seconds: f64| pages.len() as f64 * PAGE as f64 / seconds / f64::from(1 << 20);
    let [bare, pooled, bare_fresh, pooled_fresh] = times.map(|times| times.medians());
    for (what, bare, pooled) in
        [("store", bare.0, pooled.0), ("store into fresh memory", bare_fresh.0, pooled_fresh.0), ("load", bare.1, pooled.1)]
    {
        let _ = writeln!(text, "{what:<24} codec and memcpy {:>7.0} MiB/s, pool {:>7.0} MiB/s", rate(bare), rate(pooled));
        verdicts.at_least(&format!("{what}: throughput, of codec and memcpy"), bare / pooled * 100.0, 95.0, "%");
    }
    Ok(())
}

/// The pool on one thread and on two.
pub(super) fn scaling(pages: &[Page<'_>], text: &mut String, verdicts: &mut Verdicts) -> Result<()> {
    let mut speeds = Vec::new();
    for _ in 0..5 {
        let one = together(pages, 1)?;
        let two = together(pages, 2)?;
        speeds.push([2.0 * one.0 / two.0, 2.0 * one.1 / two.1]);
    }
    let [store, load] = [0, 1].map(|of| {
        let side: Vec<f64> = speeds.iter().map(|speed| speed[of]).collect();
        stats::median(&side).unwrap_or(0.0)
    });
    let _ = writeln!(text, "two threads, of one: store {store:.2}x, load {load:.2}x");
    verdicts.at_least("store on two threads", store, 1.8, "x");
    verdicts.at_least("load on two threads", load, 1.8, "x");
    Ok(())
}

/// Seconds in which each of `threads` stores all pages, and loads them.
fn together(pages: &[Page<'_>], threads: usize) -> Result<(f64, f64)> {
    let pool = Pool::new(Settings::pages())?;
    let mut sides: Vec<_> =
        (0..threads).map(|_| Pooled { pool: &pool, handles: VecDeque::with_capacity(pages.len()), out: [0; PAGE] }).collect();
    let run = |work: fn(&mut Pooled<'_>, &[Page<'_>]), sides: &mut Vec<Pooled<'_>>| {
        let jobs = sides.iter_mut().enumerate().map(|(cpu, side)| -> Job<'_> {
            Box::new(move |line| {
                crate::cpus::stay_on(cpu);
                line.wait();
                work(side, pages);
            })
        });
        race(Kind::Threads, jobs.collect())
    };
    let store = run(|side, pages| side.store(pages), &mut sides)?;
    let load = run(|side, _| Side::load(side), &mut sides)?;
    Ok((store.as_secs_f64(), load.as_secs_f64()))
}

/// Same-filled pages beside those that go through the codec.
pub(super) fn filled(pages: &[Page<'_>], text: &mut String) -> Result<()> {
    let pool = Pool::new(Settings::pages())?;
    let (zeros, mut out) = ([0; PAGE], [0; PAGE]);
    let others: Vec<_> = pages.iter().copied().filter(|page| kmem_zalloc::pool::same_filled(page).is_none()).take(4096).collect();
    let each = |time: Duration, count: usize| time.as_secs_f64() * 1e9 / count.max(1) as f64;
    let mut figures = [f64::INFINITY; 5];
    for _ in 0..5 {
        let mut handles = Vec::with_capacity(others.len());
        let mut clock = Instant::now();
        others.iter().for_each(|page| handles.extend(pool.store(page)));
        let store = clock.elapsed();
        clock = Instant::now();
        handles.iter().for_each(|handle| ignore(black_box(pool.load(*handle, &mut out))));
        let load = clock.elapsed();
        handles.drain(..).for_each(|handle| ignore(pool.remove(handle)));
        clock = Instant::now();
        (0..others.len()).for_each(|_| handles.extend(pool.store(black_box(&zeros))));
        let filled_store = clock.elapsed();
        clock = Instant::now();
        handles.iter().for_each(|handle| ignore(black_box(pool.load(*handle, black_box(&mut out)))));
        let filled_load = clock.elapsed();
        handles.drain(..).for_each(|handle| ignore(pool.remove(handle)));
        clock = Instant::now();
        others.iter().for_each(|page| ignore(black_box(kmem_zalloc::pool::same_filled(black_box(page)))));
        let now = [store, load, filled_store, filled_load, clock.elapsed()].map(|time| each(time, others.len()));
        figures = std::array::from_fn(|index| figures[index].min(now[index]));
    }
    let [store, load, filled_store, filled_load, refused] = figures;
    let _ = writeln!(
        text,
        "same-filled page: store {filled_store:.0} ns ({store:.0} through the codec), load {filled_load:.0} ns ({load:.0})"
    );
    let _ = writeln!(text, "to see that a page is not same-filled: {refused:.1} ns");
    Ok(())
}
