//! A shard's address space: its header, the descriptors of its places, its slots, and the places.

use super::classes::Shape;
use super::config::{MAX_PLACES, MIN_PLACES, PLACE, PLACE_SLOTS};
use super::span::Span;
use super::word::{Location, Slot};
use core::ptr::NonNull;
use kmem_base::source::PageSource;

/// One reservation, and what lies where in it. Its parts become writable one after the other, each from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
    len: usize,
    places: u32,
    spans: NonNull<Span>,
    slots: NonNull<Slot>,
    arena: NonNull<u8>,
}

// SAFETY: addresses; what may be done with the memory is for those to say who reach it through them.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// Bytes, rounded up to places: no system's pages are larger.
const fn rounded(bytes: usize) -> usize {
    bytes.next_multiple_of(PLACE)
}

impl Region {
    /// Reserves `places` places, or half as many as long as that is refused, behind `header` bytes.
    pub(super) fn reserve(source: &dyn PageSource, header: usize, places: u32) -> Option<Self> {
        let mut places = places.clamp(MIN_PLACES, MAX_PLACES);
        loop {
            match Self::of(source, header, places) {
                None if places / 2 >= MIN_PLACES => places /= 2,
                region => return region,
            }
        }
    }

    fn of(source: &dyn PageSource, header: usize, places: u32) -> Option<Self> {
        let count = places as usize;
        let spans = rounded(header);
        let slots = spans + rounded(count * size_of::<Span>());
        let arena = slots + rounded(count * PLACE_SLOTS * size_of::<Slot>());
        let len = arena + count * PLACE;
        let base = source.reserve(len, PLACE)?;
        // SAFETY: all of it lies in the reservation.
        unsafe {
            Some(Self { base, len, places, spans: base.add(spans).cast(), slots: base.add(slots).cast(), arena: base.add(arena) })
        }
    }

    /// Gives it back.
    ///
    /// # Safety
    /// Nothing in it is used any more.
    pub(super) unsafe fn unmap(self, source: &dyn PageSource) {
        // SAFETY: whole, and dead by the caller's promise.
        unsafe { source.unmap(self.base, self.len) };
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn places(&self) -> u32 {
        self.places
    }

    /// Slots that there is address space for.
    pub(super) fn slot_count(&self) -> u32 {
        self.places * PLACE_SLOTS as u32
    }

    /// The descriptor of a place. Below `places`; to be touched only where writable, and under the shard's lock.
    pub(super) fn span(&self, place: u32) -> NonNull<Span> {
        debug_assert!(place < self.places);
        // SAFETY: of the descriptors' part.
        unsafe { self.spans.add(place as usize) }
    }

    /// A slot. To be touched only where writable.
    #[inline]
    pub(super) fn slot(&self, index: u32) -> NonNull<Slot> {
        debug_assert!(index < self.slot_count());
        // SAFETY: of the slots' part.
        unsafe { self.slots.add(index as usize) }
    }

    /// The first byte of a place.
    pub(super) fn place(&self, place: u32) -> NonNull<u8> {
        debug_assert!(place < self.places);
        // SAFETY: of the arena.
        unsafe { self.arena.add(place as usize * PLACE) }
    }

    /// The first byte of an object.
    #[inline]
    pub(super) fn object(&self, at: Location) -> NonNull<u8> {
        // SAFETY: locations are made of places of the arena and offsets within them.
        unsafe { self.arena.add(at.bytes()) }
    }

    /// Where the slot's number of an object is, in a span that has its reverse index at its beginning.
    pub(super) fn reverse(&self, place: u32, shape: Shape, index: usize) -> NonNull<u32> {
        debug_assert!(!shape.is_inline() && index < shape.objects as usize);
        // SAFETY: within the span (`Shape::head`).
        unsafe { self.place(place).cast::<u32>().add(index) }
    }
}
