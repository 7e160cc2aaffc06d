//! What a backing file is made of: reads and writes at offsets, each of which may fail.
//!
//! Not a mapping: a file that somebody truncates under a mapping kills the process (SIGBUS), while a read that comes back short is an
//! error for one page; and a mapping's pages would count as the process's memory, which writing back is to make less.

use std::fs::File;
use std::io;

/// Bytes at offsets.
pub trait Storage: Send + Sync + core::fmt::Debug {
    /// Reads all of `to`.
    ///
    /// # Errors
    /// Also if there are fewer bytes.
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `from`, growing the storage if need be.
    ///
    /// # Errors
    /// Then any part of it may have been written.
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()>;

    /// Bytes.
    ///
    /// # Errors
    /// If that cannot be known.
    fn size(&self) -> io::Result<u64>;
}

#[cfg(unix)]
impl Storage for File {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, to, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, from, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}

impl<T: Storage + ?Sized> Storage for &'static T {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(to, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(from, offset)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }
}
