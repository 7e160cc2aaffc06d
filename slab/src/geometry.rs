//! How objects of one size lie in a slab. Theory 2.

use crate::cache::Flags;
use crate::config::{MAX_SIZE, MAX_SLAB_PAGES, NARROW, WASTE};
use kmem_base::classes::Class;
use kmem_base::config::{MAX_SMALL, PAGE_SIZE};

/// Where the list of a slab's free objects is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// In the free object that will be handed out last: costs nothing.
    #[doc(alias = "CFLGS_OBJFREELIST_SLAB")]
    Object,
    /// In an object of a general cache.
    #[doc(alias = "CFLGS_OFF_SLAB")]
    OffSlab,
    /// Behind the slab's last object.
    OnSlab,
}

/// What the geometry follows from.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Bytes that the user asked for.
    pub object: usize,
    /// Alignment, a power of two.
    pub align: usize,
    /// Properties, those for debugging included.
    pub flags: Flags,
    /// True if objects stay constructed while they are free.
    pub constructed: bool,
    /// Bytes of a cache line.
    pub line: usize,
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Bytes from one object to the next.
    pub size: u32,
    /// Bytes that the user asked for.
    pub object: u32,
    /// Pages of a slab: a power of two.
    pub pages: u32,
    /// Objects of a slab.
    pub objects: u32,
    /// Where the freelist is.
    pub placement: Placement,
    /// Bytes of an index in it: 1 or 2.
    pub index_bytes: u32,
    /// Bytes that neither objects nor the list take.
    pub left_over: u32,
    /// Offsets that slabs' first objects have in turn; 0 and 1 are the same: no colouring.
    pub colours: u32,
    /// Bytes between two of them.
    pub colour_off: u32,
    /// Bytes before each object: its red zone, if it has one.
    pub red: u32,
    /// Flags for debugging.
    pub debug: Flags,
    recip: u64,
}

/// Fixed-point shift of the reciprocal: exact for every offset in a slab, as `offset * size < 2^40`.
const SHIFT: u32 = 40;
/// Bytes of a red zone's word, and of the note of the last user.
pub(crate) const WORD: usize = 8;

impl Geometry {
    /// The smallest slab, of 2^n pages, with little enough waste. `None` if such objects cannot be had.
    #[must_use]
    pub fn new(wish: &Wish) -> Option<Self> {
        if wish.object > MAX_SIZE || !wish.align.is_power_of_two() || wish.align > PAGE_SIZE {
            return None;
        }
        let debug = wish.flags.debugging();
        let align = alignment(wish);
        let red = if debug.has(Flags::RED_ZONE) { align } else { 0 };
        let behind = if debug.has(Flags::RED_ZONE) { WORD } else { 0 } + if debug.has(Flags::STORE_USER) { WORD } else { 0 };
        let size = (red + wish.object.max(1).next_multiple_of(WORD) + behind).next_multiple_of(align);
        let keeps = wish.constructed || wish.flags.has(Flags::TYPESAFE) || debug != Flags::NONE;
        let mut place = Place { size, colour_off: align.max(wish.line), eager: wish.flags.has(Flags::RECLAIM_ACCOUNT) };
        place.colour_off = place.colour_off.next_multiple_of(align);
        let fit = if keeps { None } else { place.in_object() };
        let fit = fit.or_else(|| place.off_slab()).or_else(|| place.on_slab())?;
        let colours = fit.left_over / place.colour_off;
        Some(Self {
            size: size as u32,
            object: wish.object as u32,
            pages: fit.pages as u32,
            objects: fit.objects as u32,
            placement: fit.placement,
            index_bytes: index_bytes(fit.objects) as u32,
            left_over: fit.left_over as u32,
            colours: colours as u32,
            colour_off: place.colour_off as u32,
            red: red as u32,
            debug,
            recip: (1_u64 << SHIFT).div_ceil(size as u64),
        })
    }

    /// Bytes of a slab.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.pages as usize * PAGE_SIZE
    }

    /// Bytes of a slab's freelist.
    #[must_use]
    pub const fn list_bytes(&self) -> usize {
        self.objects as usize * self.index_bytes as usize
    }

    /// Bytes of metadata that an object costs: nothing, where the list lies in a free one.
    #[must_use]
    pub const fn metadata_per_object(&self) -> u32 {
        match self.placement {
            Placement::Object => 0,
            Placement::OffSlab | Placement::OnSlab => self.index_bytes,
        }
    }

    /// Offset of the list in a slab, if it is there.
    pub(crate) const fn list_offset(&self) -> usize {
        self.bytes() - self.list_bytes()
    }

    /// Bytes from the first object's place to object `index`, red zones included.
    #[inline]
    pub(crate) const fn offset(&self, index: u32) -> usize {
        index as usize * self.size as usize + self.red as usize
    }

    /// Number of the object that starts `inside` bytes behind the first object's place, if one does.
    #[inline]
    pub(crate) const fn index(&self, inside: usize) -> Option<u32> {
        let inside = inside.wrapping_sub(self.red as usize);
        let index = ((inside as u64).wrapping_mul(self.recip) >> SHIFT) as u32;
        if index < self.objects && index as usize * self.size as usize == inside { Some(index) } else { None }
    }
}

/// The alignment that objects really have. A cache line's is halved as long as two objects would fit into it.
fn alignment(wish: &Wish) -> usize {
    let mut align = wish.align.max(WORD);
    if wish.flags.has(Flags::HWCACHE_ALIGN) {
        let mut line = wish.line;
        while wish.object.max(1) <= line / 2 {
            line /= 2;
        }
        align = align.max(line);
    }
    align
}

const fn index_bytes(objects: usize) -> usize {
    if objects <= NARROW { 1 } else { 2 }
}

struct Fit {
    pages: usize,
    objects: usize,
    left_over: usize,
    placement: Placement,
}

struct Place {
    size: usize,
    colour_off: usize,
    /// Takes the first slab that holds an object at all.
    eager: bool,
}

impl Place {
    fn in_object(&self) -> Option<Fit> {
        self.smallest(Placement::Object).filter(|fit| fit.objects * index_bytes(fit.objects) <= self.size)
    }

    /// Only if there would be no room for the list in the slab anyway, and what it takes elsewhere is at most half an object.
    fn off_slab(&self) -> Option<Fit> {
        let fit = self.smallest(Placement::OffSlab)?;
        let list = fit.objects * index_bytes(fit.objects);
        let worth = list <= MAX_SMALL && fit.left_over < list && Class::of(list).size() <= self.size / 2;
        worth.then_some(fit)
    }

    fn on_slab(&self) -> Option<Fit> {
        self.smallest(Placement::OnSlab)
    }

    fn smallest(&self, placement: Placement) -> Option<Fit> {
        let mut pages = 1;
        let mut best = None;
        while pages <= MAX_SLAB_PAGES {
            let bytes = pages * PAGE_SIZE;
            let objects = self.objects(bytes, placement);
            if objects > 0 {
                let list = if placement == Placement::OnSlab { objects * index_bytes(objects) } else { 0 };
                let left_over = bytes - objects * self.size - list;
                best = Some(Fit { pages, objects, left_over, placement });
                if self.eager || left_over * WASTE <= bytes {
                    break;
                }
            }
            pages *= 2;
        }
        best
    }

    fn objects(&self, bytes: usize, placement: Placement) -> usize {
        if placement != Placement::OnSlab {
            return bytes / self.size;
        }
        let narrow = bytes / (self.size + 1);
        if narrow <= NARROW { narrow } else { (bytes / (self.size + 2)).max(NARROW) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(object: usize) -> Wish {
        Wish { object, align: 8, flags: Flags::NONE, constructed: false, line: 64 }
    }

    fn fits(geometry: &Geometry) -> bool {
        let list = if geometry.placement == Placement::OnSlab { geometry.list_bytes() } else { 0 };
        geometry.objects as usize * geometry.size as usize + list + geometry.left_over as usize == geometry.bytes()
    }

    #[test]
    fn every_size_has_a_slab_with_little_waste() {
        for object in 1..=8192 {
            for constructed in [false, true] {
                let geometry = Geometry::new(&Wish { constructed, ..wish(object) }).unwrap();
                assert!(fits(&geometry), "{geometry:?}");
                assert!(geometry.left_over as usize * WASTE <= geometry.bytes(), "{object}");
                assert_eq!(geometry.index_bytes == 1, geometry.objects <= 256);
            }
        }
    }

    #[test]
    fn the_mean_waste_of_small_sizes_is_at_most_a_twenty_fifth() {
        let waste = |object: usize| {
            let geometry = Geometry::new(&wish(object)).unwrap();
            let list = if geometry.placement == Placement::OnSlab { geometry.list_bytes() } else { 0 };
            let used = geometry.objects as usize * geometry.size as usize + list;
            1.0 - used as f64 / geometry.bytes() as f64
        };
        let sizes = (8..=4096).step_by(8);
        let mean = sizes.clone().map(waste).sum::<f64>() / sizes.count() as f64;
        assert!(mean <= 0.04, "{mean}");
    }

    #[test]
    fn the_list_lies_where_it_costs_least() {
        let placed = |wish: &Wish| Geometry::new(wish).unwrap().placement;
        assert_eq!(placed(&wish(64)), Placement::OnSlab, "1024 indices of two bytes fit no object of 64");
        assert_eq!(placed(&wish(256)), Placement::Object, "256 indices of a byte fit one of 256");
        assert_eq!(placed(&Wish { constructed: true, ..wish(256) }), Placement::OnSlab, "the list would take an object and more");
        assert_eq!(placed(&Wish { constructed: true, ..wish(4096) }), Placement::OffSlab, "nothing is left over");
        assert_eq!(placed(&Wish { constructed: true, ..wish(4000) }), Placement::OnSlab, "there is room");
        assert_eq!(placed(&Wish { flags: Flags::TYPESAFE, ..wish(4096) }), Placement::OffSlab);
        assert_eq!(Geometry::new(&wish(256)).unwrap().metadata_per_object(), 0);
        assert_eq!(Geometry::new(&Wish { constructed: true, ..wish(4096) }).unwrap().metadata_per_object(), 1);
        assert_eq!(Geometry::new(&wish(64)).unwrap().metadata_per_object(), 2);
    }

    #[test]
    fn colours_come_from_what_is_left_over() {
        for object in (8..=16_384).step_by(8) {
            let geometry = Geometry::new(&wish(object)).unwrap();
            assert_eq!(geometry.colours, geometry.left_over / 64);
            let last = geometry.colours.saturating_sub(1) * geometry.colour_off;
            assert!(last <= geometry.left_over && last.is_multiple_of(8));
        }
        assert_eq!(Geometry::new(&wish(4096)).unwrap().colours, 0, "nothing is left over");
    }

    #[test]
    fn an_aligned_cache_keeps_its_alignment_in_every_colour() {
        for shift in 3..=12 {
            let geometry = Geometry::new(&Wish { align: 1 << shift, ..wish(3000) }).unwrap();
            assert!(geometry.size.is_multiple_of(1 << shift) && geometry.colour_off.is_multiple_of(1 << shift));
        }
    }

    #[test]
    fn red_zones_keep_alignment_and_indices() {
        let flags = Flags::RED_ZONE | Flags::STORE_USER | Flags::POISON;
        for (object, align) in [(1, 8), (24, 8), (100, 64), (4096, 4096)] {
            let geometry = Geometry::new(&Wish { align, flags, ..wish(object) }).unwrap();
            assert!(geometry.red as usize == align && geometry.size as usize >= align + object + 16);
            for index in 0..geometry.objects {
                assert!(geometry.offset(index).is_multiple_of(align));
                assert_eq!(geometry.index(geometry.offset(index)), Some(index));
                assert_eq!(geometry.index(geometry.offset(index) + 1), None);
            }
        }
    }

    #[test]
    fn indices_are_told_from_every_other_offset() {
        for object in [8, 24, 40, 56, 72, 1000, 1016, 4104, 28_672] {
            let geometry = Geometry::new(&wish(object)).unwrap();
            for inside in 0..geometry.bytes() {
                let whole = inside % geometry.size as usize == 0 && inside / (geometry.size as usize) < geometry.objects as usize;
                assert_eq!(geometry.index(inside), whole.then_some((inside / geometry.size as usize) as u32));
            }
        }
    }

    #[test]
    fn small_objects_share_a_cache_line_evenly() {
        let size = |object| Geometry::new(&Wish { flags: Flags::HWCACHE_ALIGN, ..wish(object) }).unwrap().size;
        assert_eq!(size(0), 8);
        assert_eq!([size(8), size(20), size(32), size(33), size(100)], [8, 32, 32, 64, 128]);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        assert_eq!(Geometry::new(&wish(MAX_SIZE + 1)), None);
        assert_eq!(Geometry::new(&Wish { align: 3, ..wish(8) }), None);
        assert_eq!(Geometry::new(&Wish { align: 2 * PAGE_SIZE, ..wish(8) }), None);
        assert!(Geometry::new(&wish(MAX_SIZE)).is_some() && Geometry::new(&wish(0)).is_some());
    }
}
