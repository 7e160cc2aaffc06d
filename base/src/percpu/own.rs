//! Taking the sheaf of a word out of this CPU's row, and putting one in: how slow paths come by sheaves of their own.

use super::{Lease, PerCpu, Place, Sheaf, Word};

/// Attempts to install a sheaf: more than one only if a neighbour was faster, or this thread was moved.
const ATTEMPTS: usize = 8;

impl PerCpu {
    /// Takes the sheaf in `place` of this CPU's row, if there is one and no drain has begun since the lease.
    #[inline]
    #[must_use]
    pub fn claim(&self, lease: &Lease, place: Place) -> Option<Sheaf> {
        self.claim_word(lease, place, self.peek(place))
    }

    /// The same, if `place` still holds `word`.
    #[inline]
    #[must_use]
    pub fn claim_word(&self, lease: &Lease, place: Place, word: Word) -> Option<Sheaf> {
        if word.is_none() || !self.swap_if(lease, place, word, Word::NONE) {
            return None;
        }
        // SAFETY: the swap made the sheaf ours; the lease's epoch held at that moment, and with it the shape.
        unsafe { Sheaf::from_word(word, self.base(), lease.shape()?) }
    }

    /// Puts `sheaf` into `place` of this CPU's row; returns the one that it replaces, if there was one.
    ///
    /// # Errors
    /// The sheaf, if a drain has begun since the lease, or this CPU has no row.
    #[inline]
    pub fn install(&self, lease: &Lease, place: Place, sheaf: Sheaf) -> Result<Option<Sheaf>, Sheaf> {
        let shape = sheaf.shape();
        let word = sheaf.into_word(self.base());
        for _ in 0..ATTEMPTS {
            let old = self.peek(place);
            if self.swap_if(lease, place, old, word) {
                // SAFETY: as in `claim_word`.
                return Ok(unsafe { Sheaf::from_word(old, self.base(), shape) });
            }
            if self.lease(lease.slot) != *lease {
                break;
            }
        }
        // SAFETY: no swap succeeded, so that the sheaf is still ours, and a sheaf's word is never 0.
        Err(unsafe { Sheaf::from_word(word, self.base(), shape).unwrap_unchecked() })
    }
}
