//! Compactors as a count of what they copy: on spans of the pool's shapes that were filled in order, in which the same objects were freed.

use std::collections::VecDeque;

use kmem_zalloc::Zspool;

use super::corpus::{PAGE, Packed};

/// Objects moved by each.
#[derive(Default)]
pub(super) struct Copies {
    /// A new heap, and everything into it.
    pub(super) everything: usize,
    /// The last spans into the holes of the first: what one would write first.
    pub(super) sliding: usize,
    /// Almost empty (at most three quarters) into almost full, in no order within the two.
    pub(super) two_groups: usize,
    /// As many of the emptiest spans as the others have room for: no compactor moves fewer.
    pub(super) fewest: usize,
}

impl Copies {
    /// Objects of `objects` that are not `alive` were freed.
    pub(super) fn of(pool: &Zspool, objects: &Packed, alive: &[bool]) -> Self {
        let mut classes = Vec::new();
        pool.classes(|class| classes.push((class.size, class.per_span.max(1))));
        let mut spans: Vec<Vec<usize>> = vec![Vec::new(); classes.len()];
        let mut count = vec![0; classes.len()];
        for (object, alive) in objects.iter().zip(alive) {
            let class = classes.partition_point(|(size, _)| *size < object.len());
            let span = count[class] / classes[class].1;
            count[class] += 1;
            spans[class].resize(span + 1, 0);
            spans[class][span] += usize::from(*alive);
        }
        let mut sum = Self::default();
        // An object with pages of its own needs no copy: they are given back.
        for (spans, (_, per_span)) in spans.iter().zip(&classes).filter(|(_, (size, _))| !size.is_multiple_of(PAGE)) {
            sum.everything += spans.iter().sum::<usize>();
            sum.sliding += sliding(spans, *per_span);
            sum.two_groups += two_groups(spans, *per_span);
            sum.fewest += fewest(spans, *per_span);
        }
        sum
    }
}

fn sliding(spans: &[usize], per_span: usize) -> usize {
    let live: usize = spans.iter().sum();
    spans.iter().skip(live.div_ceil(per_span)).sum()
}

fn two_groups(spans: &[usize], per_span: usize) -> usize {
    let is_full = |used: usize| used * 4 > per_span * 3;
    let partial = spans.iter().copied().filter(|used| (1..per_span).contains(used));
    let (mut full, mut empty): (VecDeque<_>, VecDeque<_>) = partial.partition(|used| is_full(*used));
    let mut copies = 0;
    while let Some(mut from) = empty.pop_front().or_else(|| full.pop_front()) {
        while from > 0 {
            let Some(to) = full.pop_front().or_else(|| empty.pop_front()) else { return copies };
            let moved = from.min(per_span - to);
            (from, copies) = (from - moved, copies + moved);
            match to + moved {
                whole if whole == per_span => {}
                more if is_full(more) => full.push_front(more),
                more => empty.push_front(more),
            }
        }
    }
    copies
}

fn fewest(spans: &[usize], per_span: usize) -> usize {
    let objects: usize = spans.iter().sum();
    let mut spans = spans.to_vec();
    spans.sort_unstable();
    let gone = spans.len() - objects.div_ceil(per_span);
    spans.into_iter().take(gone).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_moves_fewer_than_the_fewest() {
        let mut rng = crate::rng::Rng::new(1);
        for per_span in [2, 7, 40] {
            let spans: Vec<usize> = (0..200).map(|_| (0..per_span).filter(|_| rng.below(100) >= 57).count()).collect();
            let (fewest, all) = (fewest(&spans, per_span), spans.iter().sum::<usize>());
            for copies in [sliding(&spans, per_span), two_groups(&spans, per_span)] {
                assert!(fewest <= copies && copies <= all, "{fewest} {copies} {all}");
            }
        }
        assert_eq!((sliding(&[1, 4, 1], 4), two_groups(&[1, 4, 1], 4), fewest(&[1, 4, 1], 4)), (1, 1, 1));
    }
}
