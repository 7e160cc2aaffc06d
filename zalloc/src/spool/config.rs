//! Constants, each with its unit and its reason.

use kmem_base::sync::MODEL;

/// Largest object, in bytes: a page, as it is.
pub const MAX_SIZE: usize = 4096;

/// Step of sizes, in bytes, and alignment of objects.
pub(super) const STEP: usize = 16;

/// The page that spans are made of and memory is given back in, in bytes. Where the system's pages are larger, memory goes back by
/// whole spans only.
pub(super) const PAGE: usize = 4096;

/// Most pages of a span.
pub(super) const SPAN_PAGES: usize = 16;

/// Address space of a span, whatever its length, in bytes: places are all alike, so that address space has no fragmentation, and a
/// span's number is a shift of its address.
pub(super) const PLACE: usize = PAGE * SPAN_PAGES;

/// Most objects of a span: its descriptor has 256 bits for them.
pub(super) const SPAN_OBJECTS: usize = 256;

/// Up to so many objects, a span's reverse index is in its descriptor, where the bits that so few objects leave over are.
pub(super) const INLINE: usize = 11;

/// Places of a shard: 16 GiB of address space, which the 30 bits of a location reach.
pub(super) const MAX_PLACES: u32 = if MODEL { 4 } else { 1 << 18 };
/// A shard is not made with fewer: 1 MiB.
pub(super) const MIN_PLACES: u32 = if MODEL { 4 } else { 16 };
/// Slots of a shard, per place. At most 256 are ever in use at once; the rest is for slots that have been retired (theory 3.3).
pub(super) const PLACE_SLOTS: usize = if MODEL { 4 } else { 4096 };

/// Smallest and largest step by which places become writable: 4 MiB and 64 MiB, of which only what is touched takes memory.
pub(super) const GROW_MIN: u32 = if MODEL { 4 } else { 64 };
/// See [`GROW_MIN`].
pub(super) const GROW_MAX: u32 = 1024;
/// Step by which slots become usable: 64 KiB.
pub(super) const GROW_SLOTS: u32 = if MODEL { 16 } else { 8192 };
/// Slots of a page: the first one counts how many of the others are retired.
pub(super) const PAGE_SLOTS: u32 = if MODEL { 8 } else { 512 };

/// Shards of a pool.
pub(super) const MAX_SHARDS: usize = if MODEL { 2 } else { 64 };
/// A thread that found its shard's lock held so many times more makes the pool use one more shard.
pub(super) const BUSY: u32 = 64;

/// Pages behind free places that a shard keeps for the next spans (512 KiB): a pool that gains and loses spans would fault them in and
/// give them back all the time.
pub(super) const KEEP_PAGES: u32 = 128;
/// What giving a span back takes of a budget, in objects: about as long as moving so many.
pub(super) const SPAN_COST: usize = 16;

/// Spans looked at for the emptiest or the fullest of a group.
pub(super) const PROBES: usize = 16;
/// Places whose memory is given back in one call: it interrupts every CPU that the process runs on.
pub(super) const BATCH: usize = 32;
/// Spans passed over under one lock when looking for pages to give back.
pub(super) const SWEEP: u32 = 64;

/// Cells through which models see who touches an object: one for each object of 2 KiB or more. No bytes in production.
pub(super) const CELLS: usize = if MODEL { MAX_PLACES as usize * CELLS_OF_PLACE } else { 1 };
/// See [`CELLS`].
pub(super) const CELLS_OF_PLACE: usize = PLACE / 2048;

const _: () = assert!(PLACE / STEP == 1 << 12 && MAX_PLACES <= 1 << 18 && SPAN_PAGES == 16);
