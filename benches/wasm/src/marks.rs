//! The book of marks.

pub use kmem_slob::Marks as Book;
