//! The allocators for small systems, each over one buffer: what they are here is what their users get from them for one thread.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{NonNull, null_mut};

use kmem::slob::{Book, Fixed, Lists, Marks, Unchecked};

/// A heap in a buffer, for one thread.
pub(super) trait Heap {
    /// A block, or null.
    fn alloc(&mut self, layout: Layout) -> *mut u8;

    /// Frees one.
    ///
    /// # Safety
    /// It is this heap's, of that layout, and dead.
    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout);

    /// Resizes one; null leaves it as it is.
    ///
    /// # Safety
    /// It is this heap's, of that layout.
    unsafe fn realloc(&mut self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: what a realloc is where there is none: a fresh block, as much copied as both hold, the old one given up.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(bytes));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Makes a heap in `len` bytes at a place aligned to a page, which nothing else uses while the heap is there.
type Make = unsafe fn(at: *mut u8, len: usize) -> Box<dyn Heap>;

/// An allocator.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) make: Make,
}

/// How many of them are ours.
pub(super) const OURS: usize = 2;
/// Everybody; ours first.
pub(super) const PEERS: &[Peer] = &[
    Peer { name: SLOB, make: slob::<Lists> },
    Peer { name: MARKS, make: slob::<Marks> },
    Peer { name: TALC, make: talc },
    Peer { name: "dlmalloc", make: dlmalloc },
    Peer { name: "rlsf", make: rlsf },
    Peer { name: "linked_list_allocator", make: linked_list },
    Peer { name: "embedded-alloc llff", make: llff },
    Peer { name: "embedded-alloc tlsf", make: tlsf },
    Peer { name: "buddy_system_allocator", make: buddy },
];

/// Ours.
pub(super) const SLOB: &str = "kmem-slob";
/// Ours, with the other book.
pub(super) const MARKS: &str = "kmem-slob, marks";
/// Whose speed is compared.
pub(super) const TALC: &str = "talc";
/// The other back ends of kmem, which have memory of their own: only for speed.
pub(super) const SLAB: Peer = Peer { name: "kmem over slab", make: slab };
pub(super) const SLUBQ: Peer = Peer { name: "kmem over slubq", make: slubq };

struct Slob<B>(kmem::slob::Heap<Fixed, Unchecked, B>);

impl<B: Book> Heap for Slob<B> {
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.0.alloc(layout)
    }

    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&mut self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { self.0.realloc(block, layout, bytes) }
    }
}

unsafe fn slob<B: Book + 'static>(at: *mut u8, len: usize) -> Box<dyn Heap> {
    // SAFETY: the caller's.
    Box::new(Slob::<B>(kmem::slob::Heap::new(unsafe { Fixed::from_raw(at, len) })))
}

/// What is a `GlobalAlloc` by itself.
struct Global<A>(A);

impl<A: GlobalAlloc> Heap for Global<A> {
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: no layout here is empty.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&mut self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { self.0.realloc(block, layout, bytes) }
    }
}

unsafe fn slab(_: *mut u8, _: usize) -> Box<dyn Heap> {
    Box::new(Global(kmem::Kmem::<kmem::Slab>::over()))
}

unsafe fn slubq(_: *mut u8, _: usize) -> Box<dyn Heap> {
    Box::new(Global(kmem::Kmem::new()))
}

unsafe fn talc(at: *mut u8, len: usize) -> Box<dyn Heap> {
    let talc = talc::cell::TalcCell::<_, talc::DefaultBinning>::new(talc::source::Manual);
    // SAFETY: the caller's.
    unsafe { talc.claim(at, len) };
    Box::new(Global(talc))
}

unsafe fn llff(at: *mut u8, len: usize) -> Box<dyn Heap> {
    let heap = embedded_alloc::LlffHeap::empty();
    // SAFETY: the caller's.
    unsafe { heap.init(at.addr(), len) };
    Box::new(Global(heap))
}

unsafe fn tlsf(at: *mut u8, len: usize) -> Box<dyn Heap> {
    let heap = embedded_alloc::TlsfHeap::empty();
    // SAFETY: the caller's.
    unsafe { heap.init(at.addr(), len) };
    Box::new(Global(heap))
}

/// A buffer that is handed out once.
struct Once(std::cell::Cell<(*mut u8, usize)>);

// SAFETY: for one thread.
unsafe impl Send for Once {}

// SAFETY: hands out a buffer that is the heap's.
unsafe impl dlmalloc::Allocator for Once {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let (at, len) = self.0.replace((null_mut(), 0));
        if size <= len { (at, len, 0) } else { (null_mut(), 0, 0) }
    }

    fn remap(&self, _ptr: *mut u8, _old: usize, _new: usize, _can_move: bool) -> *mut u8 {
        null_mut()
    }

    fn free_part(&self, _ptr: *mut u8, _old: usize, _new: usize) -> bool {
        false
    }

    fn free(&self, _ptr: *mut u8, _size: usize) -> bool {
        false
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        false
    }

    fn page_size(&self) -> usize {
        4096
    }
}

impl Heap for dlmalloc::Dlmalloc<Once> {
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: an alignment is a power of two.
        unsafe { self.malloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.free(block, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&mut self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { dlmalloc::Dlmalloc::realloc(self, block, layout.size(), layout.align(), bytes) }
    }
}

unsafe fn dlmalloc(at: *mut u8, len: usize) -> Box<dyn Heap> {
    let mut heap = dlmalloc::Dlmalloc::new_with_allocator(Once(std::cell::Cell::new((at, len))));
    // Otherwise it asks for 64 KiB at least, and gets nothing of a smaller buffer.
    heap.set_granularity(4096);
    Box::new(heap)
}

type Tlsf = rlsf::Tlsf<'static, usize, usize, { usize::BITS as usize - 12 }, { usize::BITS as usize }>;

impl Heap for Tlsf {
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.allocate(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.deallocate(NonNull::new_unchecked(block), layout.align()) }
    }

    unsafe fn realloc(&mut self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe {
            let new = Layout::from_size_align_unchecked(bytes, layout.align());
            self.reallocate(NonNull::new_unchecked(block), new).map_or(null_mut(), NonNull::as_ptr)
        }
    }
}

unsafe fn rlsf(at: *mut u8, len: usize) -> Box<dyn Heap> {
    let mut heap = Tlsf::new();
    // SAFETY: the caller's.
    unsafe { heap.insert_free_block_ptr(NonNull::slice_from_raw_parts(NonNull::new_unchecked(at), len)) };
    Box::new(heap)
}

impl Heap for linked_list_allocator::Heap {
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.deallocate(NonNull::new_unchecked(block), layout) }
    }
}

unsafe fn linked_list(at: *mut u8, len: usize) -> Box<dyn Heap> {
    // SAFETY: the caller's.
    Box::new(unsafe { linked_list_allocator::Heap::new(at, len) })
}

impl Heap for buddy_system_allocator::Heap<32> {
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        buddy_system_allocator::Heap::alloc(self, layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { buddy_system_allocator::Heap::dealloc(self, NonNull::new_unchecked(block), layout) }
    }
}

unsafe fn buddy(at: *mut u8, len: usize) -> Box<dyn Heap> {
    let mut heap = buddy_system_allocator::Heap::<32>::new();
    // SAFETY: the caller's.
    unsafe { heap.init(at.addr(), len) };
    Box::new(heap)
}
