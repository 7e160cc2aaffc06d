//! Work on several objects, in the midst of which a program's constructor or destructor may unwind: nothing is lost.

/// Fills `out` with what `more` puts at the front of the rest of it, until that is nothing. Returns how many there are.
///
/// If `more` unwinds, `give_back` gets those that there are so far.
#[inline]
pub fn fill(out: &mut [*mut u8], mut more: impl FnMut(&mut [*mut u8]) -> usize, give_back: impl Fn(&[*mut u8])) -> usize {
    let mut under_way = Filling { out, filled: 0, give_back };
    while under_way.filled < under_way.out.len() {
        match more(&mut under_way.out[under_way.filled..]) {
            0 => break,
            count => under_way.filled += count,
        }
    }
    let filled = under_way.filled;
    core::mem::forget(under_way);
    filled
}

struct Filling<'a, F: Fn(&[*mut u8])> {
    out: &'a mut [*mut u8],
    filled: usize,
    give_back: F,
}

impl<F: Fn(&[*mut u8])> Drop for Filling<'_, F> {
    fn drop(&mut self) {
        (self.give_back)(&self.out[..self.filled]);
    }
}

/// Calls `destroy` for objects 0 to `count` - 1. If it unwinds for one of them, the others still have their turn.
pub fn destroy_each(count: u32, destroy: impl FnMut(u32)) {
    Doomed { next: 0, count, destroy }.run();
}

struct Doomed<F: FnMut(u32)> {
    next: u32,
    count: u32,
    destroy: F,
}

impl<F: FnMut(u32)> Doomed<F> {
    fn run(&mut self) {
        while self.next < self.count {
            self.next += 1;
            (self.destroy)(self.next - 1);
        }
    }
}

impl<F: FnMut(u32)> Drop for Doomed<F> {
    fn drop(&mut self) {
        self.run();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use super::{destroy_each, fill};
    use core::cell::RefCell;
    use core::ptr::{null_mut, without_provenance_mut};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::vec::Vec;

    /// Three at a time.
    fn three(rest: &mut [*mut u8]) -> usize {
        let count = rest.len().min(3);
        rest[..count].fill(without_provenance_mut(count));
        count
    }

    #[test]
    fn a_slice_is_filled_until_there_is_nothing_more() {
        let never = |_: &[*mut u8]| panic!("nothing went wrong");
        let mut out = [null_mut(); 7];
        assert_eq!(fill(&mut out, three, never), 7);
        assert_eq!(out.map(<*mut u8>::addr), [3, 3, 3, 3, 3, 3, 1]);
        assert_eq!(fill(&mut out, |rest| if rest.len() < 5 { 0 } else { three(rest) }, never), 3);
        assert_eq!(fill(&mut [], three, never), 0);
    }

    #[test]
    fn what_there_is_goes_back_if_more_unwinds() {
        let back = RefCell::new(Vec::new());
        let mut out = [null_mut(); 7];
        let more = |rest: &mut [*mut u8]| if rest.len() < 3 { panic!("on purpose") } else { three(rest) };
        let filled = catch_unwind(AssertUnwindSafe(|| fill(&mut out, more, |got| back.borrow_mut().push(got.len()))));
        assert!(filled.is_err());
        assert_eq!(back.into_inner(), [6]);
    }

    #[test]
    fn each_is_destroyed_though_one_unwinds() {
        let mut destroyed = Vec::new();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            destroy_each(5, |index| {
                destroyed.push(index);
                assert_ne!(index, 2, "on purpose");
            });
        }));
        assert!(unwound.is_err());
        assert_eq!(destroyed, [0, 1, 2, 3, 4]);
    }
}
