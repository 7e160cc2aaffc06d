//! Whether colours help: the same field of one object per slab is read, where slabs begin at different offsets, and where all begin at the
//! same. Both are slabs of one cache: the next 256, and 256 that have the same colour.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::thread;
use std::time::Instant;

use kmem::{Knob, Settings};
use kmem_slab::geometry::{Geometry, Placement};
use kmem_slab::{RawCache, Slab, Spec};

use super::markdown::section;
use super::{Run, shapes};
use crate::rng::Rng;
use crate::{Result, cpus, stats};

/// Slabs that are visited.
const SLABS: usize = 256;
/// Slabs more than needed, of which some are not whole.
const SPARE: usize = 16;
/// Colours of the caches that are tried.
const COLOURS: [u32; 5] = [2, 4, 8, 16, 32];
/// Gain that is asked for.
const GAIN: f64 = 1.3;
/// Visits of all slabs in one measurement.
const WALKS: [usize; 3] = [10, 2_000, 10_000];

/// Over pages as the system gives them, and over huge ones: every one of the slabs is a page of its own otherwise, and a page has to be looked
/// up whatever its lines' colour.
static USUAL: Slab = Slab::system();
static HUGE: Slab = Slab::system();

pub(super) fn report(run: &Run<'_>) -> Result<String> {
    let walks = run.scale.pick(WALKS[0], WALKS[1], WALKS[2]);
    let turns = 4 * run.runs + 3;
    // A thread of its own: the others may go on where they like.
    let measured = thread::scope(|scope| scope.spawn(|| lines(walks, turns)).join());
    let lines = measured.map_err(|_| "a thread panicked")??;
    let about = format!(
        "The first word of the first object of {SLABS} slabs, whose colours go round (`coloured`) or are all the same (`not`): as a list, in \
         random order, where one read waits for the other; and by index, where reads overlap. Asked for: {GAIN} on a cache that has two \
         lines or more to colour with."
    );
    let head = [
        "bytes, pages",
        "left over",
        "colours",
        "list: coloured, ns",
        "not, ns",
        "gain",
        "index: coloured, ns",
        "not, ns",
        "gain",
        "target",
    ];
    Ok(section("Colours", &about, &head, &lines))
}

fn lines(walks: usize, turns: usize) -> Result<Vec<Vec<String>>> {
    cpus::stay_on(0);
    let started = USUAL.start(&Settings::new().with(Knob::Thp, 0)) && HUGE.start(&Settings::new().with(Knob::Thp, 2));
    if !started {
        return Err("out of memory".into());
    }
    let all = [("4 KiB", &USUAL), ("huge", &HUGE)].into_iter().flat_map(|on| COLOURS.map(|colours| (on, colours)));
    all.filter_map(|((pages, slab), colours)| line(slab, pages, colours, walks, turns).transpose()).collect()
}

/// A size with so many colours: slabs of few objects, full ones of which have no list.
fn size_with(colours: u32) -> Option<(usize, Geometry)> {
    let fits = |geometry: &Geometry| geometry.colours == colours && geometry.pages == 1 && geometry.placement == Placement::Object;
    (4096..=8192).step_by(8).find_map(|size| shapes::geometry(size, false).filter(fits).map(|geometry| (size, geometry)))
}

fn line(slab: &'static Slab, pages: &str, colours: u32, walks: usize, turns: usize) -> Result<Option<Vec<String>>> {
    let Some((size, geometry)) = size_with(colours) else { return Ok(None) };
    let field = Field::new(slab, size, SLABS * colours as usize)?;
    let coloured = field.firsts.iter().copied().take(SLABS).collect();
    let same: Vec<_> = field.of_one_colour().into_iter().take(SLABS).collect();
    if same.len() < SLABS {
        return Err("too few slabs have the same colour".into());
    }
    let paths = [Path::new(coloured, 0), Path::new(same, 1)];
    let (list, index) = (compare(turns, |at| paths[at].follow(walks)), compare(turns, |at| paths[at].visit(walks)));
    let times = [&list, &index].into_iter().flat_map(|(nanoseconds, gain)| {
        let visits = (walks * SLABS) as f64;
        [format!("{:.2}", nanoseconds[0] / visits), format!("{:.2}", nanoseconds[1] / visits), format!("{gain:.2}")]
    });
    let reached = super::verdict(list.1 >= GAIN);
    let shape = [format!("{size}, {pages}"), geometry.left_over.to_string(), colours.to_string()];
    Ok(Some(shape.into_iter().chain(times).chain([reached]).collect()))
}

/// Both in turns: median nanoseconds of each, and the median of how many times as long the second took.
fn compare(turns: usize, time: impl Fn(usize) -> f64) -> ([f64; 2], f64) {
    let pairs: Vec<_> = (0..turns).map(|_| [time(0), time(1)]).collect();
    let median = |of: &dyn Fn(&[f64; 2]) -> f64| stats::median(&pairs.iter().map(of).collect::<Vec<_>>()).unwrap_or(0.0);
    ([median(&|pair| pair[0]), median(&|pair| pair[1])], median(&|pair| pair[1] / pair[0]))
}

/// A cache and its objects.
struct Field {
    slab: &'static Slab,
    cache: &'static RawCache,
    objects: Vec<*mut u8>,
    /// The first object of each slab that is all here, in the order in which the slabs were made.
    firsts: Vec<*mut u8>,
}

impl Field {
    fn new(slab: &'static Slab, size: usize, slabs: usize) -> Result<Self> {
        let cache = slab.create(&Spec::new("coloured", size, 8))?;
        let geometry = cache.geometry();
        // Some slabs have objects left in this CPU's array.
        let wanted = (slabs + SPARE) * geometry.objects as usize;
        let mut objects = vec![std::ptr::null_mut(); wanted];
        let got = slab.alloc_bulk(cache, &mut objects);
        objects.truncate(got);
        let mut field = Self { slab, cache, objects, firsts: Vec::new() };
        if got < wanted {
            return Err("out of memory".into());
        }
        // By slab: when it was met first, and its objects.
        let mut met = BTreeMap::<usize, (usize, Vec<*mut u8>)>::new();
        for (at, object) in field.objects.iter().enumerate() {
            met.entry(object.addr() / geometry.bytes()).or_insert((at, Vec::new())).1.push(*object);
        }
        let mut whole: Vec<_> = met.into_values().filter(|(_, objects)| objects.len() == geometry.objects as usize).collect();
        whole.sort_unstable_by_key(|(at, _)| *at);
        field.firsts = whole.iter().take(slabs).filter_map(|(_, objects)| objects.iter().copied().min()).collect();
        Ok(field)
    }

    /// First objects at the most frequent offset.
    fn of_one_colour(&self) -> Vec<*mut u8> {
        let mut by_offset = BTreeMap::<usize, Vec<*mut u8>>::new();
        for first in &self.firsts {
            by_offset.entry(first.addr() % self.cache.geometry().bytes()).or_default().push(*first);
        }
        by_offset.into_values().max_by_key(Vec::len).unwrap_or_default()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // SAFETY: objects of that cache, each freed once; nobody uses the cache after this.
        unsafe {
            self.slab.free_bulk(self.cache, &self.objects);
            let _ = self.slab.destroy(self.cache);
        }
    }
}

/// Objects in the order in which they are visited. Each points to the next in one of its first words: both paths use the same lines of objects
/// that are on both.
struct Path {
    stops: Vec<*mut *mut u8>,
}

impl Path {
    fn new(mut objects: Vec<*mut u8>, word: usize) -> Self {
        let mut rng = Rng::new(objects.len());
        (1..objects.len()).rev().for_each(|last| objects.swap(last, rng.below(last + 1)));
        let stops: Vec<*mut *mut u8> = objects.iter().map(|object| object.cast::<*mut u8>().wrapping_add(word)).collect();
        for (at, stop) in stops.iter().enumerate() {
            // SAFETY: a word of a live object that is this benchmark's.
            unsafe { stop.write(stops[(at + 1) % stops.len()].cast()) };
        }
        Self { stops }
    }

    /// Nanoseconds that it takes to follow the pointers all the way round, so many times.
    fn follow(&self, walks: usize) -> f64 {
        let clock = Instant::now();
        let mut at = self.stops[0];
        for _ in 0..walks * self.stops.len() {
            // SAFETY: each stop holds the address of another.
            at = unsafe { at.read() }.cast();
        }
        black_box(at);
        clock.elapsed().as_nanos() as f64
    }

    /// The same without waiting for one before the next.
    fn visit(&self, walks: usize) -> f64 {
        let clock = Instant::now();
        for _ in 0..walks {
            let mut sum = 0_usize;
            for stop in &self.stops {
                // SAFETY: a word of a live object.
                sum = sum.wrapping_add(unsafe { stop.read() }.addr());
            }
            black_box(sum);
        }
        clock.elapsed().as_nanos() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_round_and_paths_visit_every_slab() {
        let (size, geometry) = size_with(4).unwrap();
        let field = Field::new(kmem_slab::system(), size, 32).unwrap();
        let offsets: Vec<_> = field.firsts.iter().map(|first| first.addr() % geometry.bytes()).collect();
        assert_eq!(offsets.len(), 32);
        assert!((0..4).all(|colour| offsets.contains(&(colour * geometry.colour_off as usize))), "{offsets:?}");
        let same = field.of_one_colour();
        assert_eq!(same.len(), 8);
        let path = Path::new(same, 0);
        let mut at = path.stops[0];
        let mut seen = std::collections::BTreeSet::new();
        while seen.insert(at) {
            // SAFETY: each stop holds the address of another.
            at = unsafe { at.read() }.cast();
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn every_number_of_colours_has_a_size() {
        assert!(COLOURS.iter().all(|colours| size_with(*colours).is_some()));
    }
}
