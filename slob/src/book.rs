//! How a heap knows where its memory is free: the type parameter with two values (theory 2.2, 2.5).

use crate::check::Broken;
use crate::config::PAGE;
use crate::ground::Ground;
use crate::heap::Heap;
use crate::mode::Mode;
use crate::stats::Stats;
use kmem_base::fault::Fault;

pub use crate::lists::Lists;

/// A free stretch, in units.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stretch {
    pub(crate) at: usize,
    pub(crate) size: usize,
}

/// How a heap knows where its memory is free: [`Lists`] or [`Marks`](crate::Marks). What it notes down outside of the free memory itself is its
/// *table*, which lies in the heap's memory, and is made anew when the heap outgrows it. For this crate to call and to implement.
pub trait Book: Copy {
    /// Bytes of a unit, in which the heap counts.
    const UNIT: usize;
    /// Units of a page.
    const UNITS: usize = PAGE / Self::UNIT;
    /// The most pages of a heap.
    const MOST: usize;
    /// Alignment of a table, in bytes.
    const ALIGN: usize;
    /// The book of a heap without memory. Nobody writes to its table.
    const EMPTY: Self;

    /// Pages that the table has room for.
    fn pages(&self) -> usize;

    /// Where the table is, and its places; none of [`Self::EMPTY`].
    fn parts(&self) -> (*mut u8, usize);

    /// Places of a table for that many pages.
    fn places(pages: usize) -> usize;

    /// Bytes of a table with that many places.
    fn bytes(places: usize) -> usize;

    /// Makes what is at `at` the table, with all that the one before says.
    ///
    /// # Safety
    /// [`Self::bytes`] bytes there are zero, aligned to [`Self::ALIGN`], and the table's; `places` are at least those of the one before.
    unsafe fn open<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, at: *mut u8, places: usize);

    /// A hole for `size` units aligned to `align` bytes, by a bounded search (theory 6.1); one of no units if there is none.
    fn find<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, size: usize, align: usize) -> Stretch;

    /// Takes `size` units at `at` out of `hole`.
    fn take<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, hole: Stretch, at: usize, size: usize);

    /// Frees `size` units at `at`.
    fn release<G: Ground, M: Mode>(heap: &mut Heap<G, M, Self>, at: usize, size: usize);

    /// Units free from `at` on, where a block ends.
    fn ahead<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize) -> usize;

    /// Units free right before `at`, where a block begins.
    fn back<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize) -> usize;

    /// Whether a page among those that are to go back is free still.
    fn is_free<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, page: usize) -> bool;

    /// Whether `size` units at `at` can be a block, and what a free of it would look at is sound.
    ///
    /// # Errors
    /// What is wrong.
    fn vet<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, at: usize, size: usize) -> Result<(), Fault>;

    /// Walks the book's invariants (theory 4).
    ///
    /// # Errors
    /// The first one broken.
    fn check<G: Ground, M: Mode>(heap: &Heap<G, M, Self>) -> Result<(), Broken>;

    /// Adds up what is free, the largest hole, and empty pages.
    fn tally<G: Ground, M: Mode>(heap: &Heap<G, M, Self>, stats: &mut Stats);
}
