//! Compile-time constants, each with its unit and its reason. Knobs that can change at run time are in [`crate::knobs`].

use crate::sync::MODEL;

/// log2 of the unit of page supply, in bytes.
pub const PAGE_SHIFT: u32 = 16;

/// The unit of page supply: 64 KiB. Large enough that a descriptor (64 bytes) is 0.1 % of it and that every OS page size in
/// use divides it; small enough that a cache with one object does not cost much.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// Largest size served by the general caches, in bytes; anything above is a run of pages.
pub const MAX_SMALL: usize = 32 << 10;

/// Queue slots per CPU: the general caches and the caches that programs create.
pub const MAX_SLOTS: usize = if MODEL { 84 } else { 1024 };

/// Smallest and largest sheaf, log2 bytes: 8 and 8192 pointers.
pub const SHEAF_MIN_ORDER: u32 = 6;
/// See [`SHEAF_MIN_ORDER`].
pub const SHEAF_MAX_ORDER: u32 = 16;
/// Number of sheaf sizes.
pub const SHEAF_ORDERS: usize = (SHEAF_MAX_ORDER - SHEAF_MIN_ORDER + 1) as usize;

/// log2 of the bytes of queue words per CPU: a header, and four words per slot.
pub const CPU_ROW_SHIFT: u32 = 16;
/// Bytes of queue words per CPU.
pub const CPU_ROW: usize = 1 << CPU_ROW_SHIFT;
/// Rows of the queue table are never more than this, whatever the machine claims: 256 MiB of address space.
pub const MAX_CPUS: u32 = 4096;

/// Arenas a process can have. Each new one is at least as large as all before it together unless refused, so this is not a limit
/// that can be met before the address space ends.
pub const MAX_ARENAS: usize = if MODEL { 2 } else { 64 };
/// Smallest arena worth a table, in pages (4 MiB): the last resort under a tight `ulimit -v`.
pub const ARENA_MIN_PAGES: usize = 64;
/// The first arena, in pages (64 GiB): its tables begin within 2 MiB, so that those of a small heap take one page table of the system's.
pub const ARENA_PAGES: usize = 1 << 20;
/// Largest arena, in pages (1 TiB).
pub const ARENA_MAX_PAGES: usize = 1 << 24;
/// Smallest and largest step by which an arena becomes writable, in pages: 2 MiB and 64 MiB.
pub const COMMIT_MIN_PAGES: usize = if MODEL { 4 } else { 32 };
/// See [`COMMIT_MIN_PAGES`].
pub const COMMIT_MAX_PAGES: usize = 1024;
/// Runs that a best-fit search looks at before it takes the best seen.
pub const FIT_PROBES: u32 = 64;
/// Runs too short for it that a best-fit search passes before it gives up. The next one goes on from there.
pub const FIT_MISSES: u32 = 512;
/// A page purge claims at most this many pages (16 MiB) at a time, so that the supply is never empty-handed for long.
pub const PURGE_PAGES: u32 = 256;

/// Takes of the lock of the free runs that had to wait, lately, after which CPUs keep runs at hand; ...
pub const KEPT_AFTER: u32 = 32;
/// ... and more of them than this are not remembered. A decay pass forgets half.
pub const KEPT_MOST: u32 = 1024;
/// Sets of runs that CPUs keep at hand, ...
pub const KEPT_SETS: usize = if MODEL { 1 } else { 16 };
/// ... and how many runs of one page, two pages and so on are in each: 2.2 MiB in all.
pub const KEPT_RUNS: [usize; 4] = [6, 4, 3, 3];

/// Alignment from which on huge pages can lie behind memory: what x86_64 and aarch64 with small pages have.
pub const HUGE_PAGE: usize = 2 << 20;
/// A large block starts at a multiple of the largest power of two that is at most one part in this many of its size, up to
/// [`HUGE_PAGE`]: blocks of similar sizes then start at the same places, where memory is resident already.
pub const LARGE_ALIGN: usize = 4;

/// Metadata is taken from the page supply in runs of this many pages (256 KiB).
pub const META_PAGES: u32 = 4;

/// Buckets of the table of huge blocks.
pub const HUGE_BUCKETS: usize = if MODEL { 4 } else { 1024 };

/// Free bits of a slab that fit into its descriptor.
pub const INLINE_WORDS: usize = 3;

const _: () = assert!(PAGE_SIZE.is_multiple_of(MAX_SMALL));
const _: () = assert!(4 * MAX_SLOTS * 8 + 256 <= CPU_ROW && SHEAF_ORDERS * 8 <= 128);
const _: () = assert!(SHEAF_MAX_ORDER <= PAGE_SHIFT);
