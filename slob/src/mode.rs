//! Whether a heap looks for mistakes of its program.

use kmem_base::fault::Fault;

/// Whether frees and lists are verified, and what happens when one is wrong.
pub trait Mode {
    /// False: nothing is verified, and [`Self::fault`] is never called.
    const CHECKED: bool;

    /// Called with what is wrong and the address that showed it. The operation is not carried out if this returns.
    fn fault(fault: Fault, address: usize);

    /// Called for each page that an allocation looks into, at most [`PROBES`](crate::config::PROBES) times by one: for whoever counts.
    #[inline]
    fn probe() {}
}

/// Nothing is verified. A list that was overwritten loses memory or gives it out twice, but no operation leads out of its page or goes
/// on for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unchecked;

impl Mode for Unchecked {
    const CHECKED: bool = false;
    fn fault(_fault: Fault, _address: usize) {}
}
