//! A slab's bits, count and summary, against a plain set of objects.

use kmem_base::fault::Fault;
use kmem_base::pages::{Kind, Page};
use kmem_slubq::geometry::Geometry;
use kmem_slubq::slab::{Duty, Slab};
use kmem_testkit::SplitMix64;
use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// A slab in memory of its own, whose objects nobody touches.
struct Ground {
    page: Page,
    geometry: Geometry,
    memory: *mut u8,
}

impl Ground {
    fn new(size: usize) -> Self {
        let (page, geometry) = (Page::new(), Geometry::new(size));
        // SAFETY: a slab is not empty.
        let memory = unsafe { alloc(Self::layout(&geometry)) };
        page.begin(Kind::Slab, memory.expose_provenance(), geometry.pages);
        Self { page, geometry, memory }
    }

    fn layout(geometry: &Geometry) -> Layout {
        Layout::from_size_align(geometry.bytes(), 1 << 16).unwrap()
    }

    fn slab(&self) -> Slab<'_> {
        // SAFETY: the descriptor and the memory behind it are this slab's as long as they live.
        unsafe { Slab::new(&self.page, &self.geometry) }
    }

    fn number(&self, object: *mut u8) -> u32 {
        self.geometry.index(object.addr() - self.memory.addr()).expect("an object")
    }

    fn object(&self, number: u32) -> *mut u8 {
        self.memory.wrapping_add(self.geometry.offset(number))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with that layout.
        unsafe { dealloc(self.memory, Self::layout(&self.geometry)) };
    }
}

/// What a request for `most` objects should get: the lowest, but of the last word's objects none whose cache line others stay in,
/// unless that is all there would be.
fn expected(free: &BTreeSet<u32>, most: usize, line: u32) -> Vec<u32> {
    let mut out = Vec::new();
    for word in 0..=free.last().map_or(0, |last| last / 64) {
        let here: Vec<u32> = free.range(word * 64..word * 64 + 64).copied().collect();
        let room = most - out.len();
        if here.len() <= room {
            out.extend(here);
            continue;
        }
        let (taken, first_left) = (&here[..room], here[room] % 64 / line);
        let shared = taken.iter().filter(|number| **number % 64 / line >= first_left).count();
        out.extend(&taken[..if shared == room { room } else { room - shared }]);
        break;
    }
    out
}

const SIZES: [usize; 14] = [8, 16, 24, 32, 64, 104, 200, 320, 344, 400, 1024, 4096, 40_000, 256 << 10];

#[test]
fn a_new_slab_has_every_object_free() {
    for size in SIZES {
        let ground = Ground::new(size);
        let (slab, objects) = (ground.slab(), ground.geometry.objects);
        slab.fill();
        assert!(slab.check() && !slab.is_empty(), "on no list yet: {size}");
        assert_eq!((slab.state().free(), slab.state().is_listed(), slab.bits_set()), (objects as i32, false, objects));
        assert!((0..objects).all(|number| slab.is_free(number)));
        let mut all = vec![std::ptr::null_mut(); objects as usize + 10];
        let (taken, left) = slab.take(&mut all);
        assert_eq!((taken, left.free(), slab.bits_set()), (objects as usize, 0, 0));
        assert!((0..objects).all(|number| all[number as usize] == ground.object(number) && !slab.is_free(number)));
        assert!(slab.check());
        assert_eq!(slab.take(&mut all).0, 0);
    }
}

#[test]
fn takes_and_puts_agree_with_a_plain_set() {
    for size in SIZES {
        let ground = Ground::new(size);
        let (slab, geometry) = (ground.slab(), ground.geometry);
        let mut random = SplitMix64::new(size as u64);
        slab.fill();
        let mut free: BTreeSet<u32> = (0..geometry.objects).collect();
        let mut held: Vec<*mut u8> = Vec::new();
        slab.mark_listed();
        let mut listed = true;
        for _ in 0..300 {
            if random.percent(50) {
                let mut out = vec![std::ptr::null_mut(); 1 + random.below(200)];
                let wanted = expected(&free, out.len(), geometry.line);
                let (taken, left) = slab.take(&mut out);
                let numbers: Vec<_> = out[..taken].iter().map(|object| ground.number(*object)).collect();
                assert_eq!(numbers, wanted, "{size}");
                numbers.iter().for_each(|number| assert!(free.remove(number)));
                assert_eq!((left.free(), left.is_listed()), (free.len() as i32, listed));
                held.extend(&out[..taken]);
                assert_eq!(slab.unlist_if_full(), listed && free.is_empty());
                listed &= !free.is_empty();
            } else if !held.is_empty() {
                let count = 1 + random.below(held.len().min(150));
                let back: Vec<_> = (0..count).map(|_| held.swap_remove(random.below(held.len()))).collect();
                let duty = slab.put(&back).unwrap();
                free.extend(back.iter().map(|object| ground.number(*object)));
                let all = free.len() == geometry.objects as usize;
                let wanted = match (listed, all) {
                    (false, _) => Duty::List,
                    (true, true) => Duty::Reconsider,
                    (true, false) => Duty::None,
                };
                assert_eq!(duty, wanted);
                assert!(!slab.is_empty(), "marked, unlisted or in use");
                match duty {
                    Duty::List => assert!(slab.mark_listed().is_listed()),
                    Duty::Reconsider => slab.unmark(),
                    Duty::None => {}
                }
                listed = true;
                assert_eq!(slab.is_empty(), all);
            }
            assert!(slab.check());
            assert_eq!((slab.state().free(), slab.bits_set()), (free.len() as i32, free.len() as u32));
            // Nobody else is about: the summary names the words with free objects, and no others.
            if geometry.has_summary() {
                let named = |word: u32| ground.page.bits[word as usize / 64].load(Ordering::Relaxed) >> (word % 64) & 1 == 1;
                assert!((0..geometry.words()).all(|word| named(word) == free.range(word * 64..word * 64 + 64).next().is_some()));
            }
            assert_eq!(slab.state().is_listed(), listed);
            let some = random.below(geometry.objects as usize) as u32;
            assert_eq!(slab.is_free(some), free.contains(&some));
        }
    }
}

#[test]
fn what_is_no_object_in_use_is_refused() {
    for size in SIZES {
        let ground = Ground::new(size);
        let slab = ground.slab();
        slab.fill();
        let mut out = [std::ptr::null_mut(); 5];
        let (taken, _) = slab.take(&mut out);
        let [first, .., last] = out[..taken] else { panic!("{taken}") };
        for distance in [1, size / 2 + 1, size - 1] {
            let inside = first.wrapping_add(distance);
            assert_eq!(slab.put(&[last, inside]), Err((Fault::Misaligned, inside)), "{size}");
            slab.fill();
            slab.take(&mut out);
        }
        let free = ground.object(ground.geometry.objects - 1);
        assert_eq!(slab.put(&[free]), Err((Fault::DoubleFree, free)));
        assert_eq!(slab.put(&[first, last, first]), Err((Fault::DoubleFree, first)), "twice in one run");
        slab.fill();
        slab.take(&mut out);
        assert_eq!(slab.put(&[first, first]), Err((Fault::DoubleFree, first)), "twice, one behind the other");
        slab.fill();
        let (taken, _) = slab.take(&mut out[..2]);
        let next = ground.object(taken as u32);
        assert_eq!(slab.put(&[out[0], next]), Err((Fault::DoubleFree, next)), "of one word, the one that is free");
    }
}

#[test]
fn a_count_or_summary_that_is_wrong_is_noticed() {
    let ground = Ground::new(8);
    let slab = ground.slab();
    slab.fill();
    ground.page.bits[1].fetch_and(!(1 << 3), Ordering::Relaxed);
    assert!(!slab.check(), "the summary hides a word");
    ground.page.bits[1].fetch_or(1 << 3, Ordering::Relaxed);
    assert!(slab.check());
    ground.page.state.fetch_sub(4, Ordering::Relaxed);
    assert!(!slab.check(), "the count is less than the bits");
}
