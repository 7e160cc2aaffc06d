//! The book of lists.

pub use kmem_slob::Lists as Book;
