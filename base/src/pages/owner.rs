//! Whose an address is.

use super::{Kind, Page, Pages};
use crate::fault::Fault;

impl Pages {
    /// First page of the slab of `owner` that `address` lies in.
    ///
    /// # Errors
    /// What a program did wrong that frees this address to that owner. O(1), but for asking whether a page is free.
    #[inline]
    pub fn slab_of(&self, owner: *const (), address: usize) -> Result<&'static Page, Fault> {
        match self.head_of(address) {
            Some(page) if page.kind() == Kind::Slab && core::ptr::eq(page.owner(), owner) => Ok(page),
            other => Err(self.mistake(other, address)),
        }
    }

    #[cold]
    fn mistake(&self, page: Option<&Page>, address: usize) -> Fault {
        match page.map(Page::kind) {
            Some(Kind::Slab | Kind::Large) => Fault::WrongCache,
            Some(Kind::Free) if self.is_used(address) => Fault::WrongCache,
            Some(Kind::Free | Kind::Idle) => Fault::DoubleFree,
            Some(Kind::Tail | Kind::Meta) | None => Fault::Foreign,
        }
    }
}
