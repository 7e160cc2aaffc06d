//! The kernel's former compressed allocators, as far as they decide where things lie: each keeps the books of its pages and of what is in
//! them, and copies nothing. Enough to know how much memory it would take.

mod xvmalloc;
mod z3fold;
mod zbud;

pub(super) use xvmalloc::Xvmalloc;
pub(super) use z3fold::Z3fold;
pub(super) use zbud::Zbud;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// Something that places objects in pages.
pub(super) trait Baseline {
    fn name(&self) -> &'static str;

    /// Places an object of 1 to 4096 bytes, and names it.
    fn insert(&mut self, size: usize) -> u64;

    /// Frees it.
    fn free(&mut self, id: u64);

    /// Pages in use.
    fn pages(&self) -> usize;
}

/// Numbers that are used again.
#[derive(Default)]
pub(super) struct Numbers {
    next: usize,
    free: Vec<usize>,
}

impl Numbers {
    pub(super) fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    pub(super) fn give(&mut self, number: usize) {
        self.free.push(number);
    }

    pub(super) fn live(&self) -> usize {
        self.next - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn all() -> [Box<dyn Baseline>; 3] {
        [Box::new(Zbud::default()), Box::new(Z3fold::default()), Box::new(Xvmalloc::new())]
    }

    #[test]
    fn what_is_freed_can_be_used_again_and_nothing_stays() {
        for mut baseline in all() {
            let (mut rng, mut held) = (Rng::new(1), Vec::new());
            for round in 0..50_000 {
                if held.len() > 1000 || (round % 3 == 0 && !held.is_empty()) {
                    let (id, _) = held.swap_remove(rng.below(held.len()));
                    baseline.free(id);
                } else {
                    let size = rng.between(1, PAGE);
                    held.push((baseline.insert(size), size));
                }
                let live: usize = held.iter().map(|(_, size)| size).sum();
                assert!(baseline.pages() * PAGE >= live && baseline.pages() <= held.len(), "{}", baseline.name());
            }
            held.drain(..).for_each(|(id, _)| baseline.free(id));
            assert_eq!(baseline.pages(), 0, "{}", baseline.name());
        }
    }

    #[test]
    fn each_has_its_known_weakness() {
        let pages = |size, count| {
            all().map(|mut baseline| {
                (0..count).for_each(|_| {
                    baseline.insert(size);
                });
                baseline.pages()
            })
        };
        // Two, three, and as many as fit.
        assert_eq!(pages(1000, 12), [6, 4, 3]);
        // Above half a page everybody needs a page each.
        assert_eq!(pages(2100, 12), [12, 12, 12]);
        assert_eq!(pages(100, 40), [20, 14, 2]);
    }
}
