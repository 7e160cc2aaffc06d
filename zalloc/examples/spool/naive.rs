//! Compactors that do not look for the emptiest and the fullest, as a count of what they copy: on spans of the same shapes, in which
//! the same objects were freed.

use super::random::Random;
use kmem_zalloc::Zspool;
use std::collections::VecDeque;

/// How many objects of `per_span` each span of a class has. Returns the copies made.
type Compactor = fn(Vec<usize>, usize) -> usize;

pub(crate) fn compactors() -> [(&'static str, Compactor); 5] {
    [
        ("copying everything that lives", everything),
        ("two groups, as zsmalloc before 6.4", two_groups),
        ("first to last, last to first", sliding),
        ("any to any", any),
        ("the fewest possible", fewest),
    ]
}

/// Fills spans with `sizes`, frees 57 % at random, and counts what `compactor` copies in all classes.
pub(crate) fn copies(sizes: impl Iterator<Item = usize>, compactor: Compactor) -> usize {
    let mut shapes = Vec::new();
    Zspool::new().classes(|class| shapes.push((class.size, class.pages, class.per_span)));
    let mut classes = vec![(Vec::new(), 0); shapes.len()];
    let mut random = Random(3);
    for size in sizes {
        let class = shapes.partition_point(|shape| shape.0 < size);
        let (spans, count): &mut (Vec<usize>, usize) = &mut classes[class];
        if count.is_multiple_of(shapes[class].2) {
            spans.push(0);
        }
        *count += 1;
        if random.below(100) >= 57 {
            *spans.last_mut().expect("one") += 1;
        }
    }
    // Objects with pages of their own need no copy: they are left out, as Zspool does.
    let moved = classes.into_iter().zip(shapes).filter(|(_, shape)| shape.0 % 4096 != 0);
    moved.map(|((spans, _), shape)| compactor(spans.into_iter().filter(|used| *used > 0).collect(), shape.2)).sum()
}

/// A new heap, and everything into it.
fn everything(spans: Vec<usize>, _per_span: usize) -> usize {
    spans.into_iter().sum()
}

/// Almost empty (at most three quarters) and almost full; from the one list's head to the other's, and within one to the next.
fn two_groups(spans: Vec<usize>, per_span: usize) -> usize {
    let is_full = |used: usize| used * 4 > per_span * 3;
    let (mut full, mut empty): (VecDeque<_>, VecDeque<_>) =
        spans.into_iter().filter(|used| *used < per_span).partition(|used| is_full(*used));
    let mut copies = 0;
    while let Some(mut from) = empty.pop_front().or_else(|| full.pop_front()) {
        while from > 0 {
            let Some(mut to) = full.pop_front().or_else(|| empty.pop_front()) else { return copies };
            let moved = from.min(per_span - to);
            (from, to, copies) = (from - moved, to + moved, copies + moved);
            if to < per_span {
                if is_full(to) { full.push_front(to) } else { empty.push_front(to) }
            }
        }
    }
    copies
}

/// By address: the last spans into the first.
fn sliding(mut spans: Vec<usize>, per_span: usize) -> usize {
    let (mut to, mut copies) = (0, 0);
    while to + 1 < spans.len() {
        let last = spans.len() - 1;
        let moved = spans[last].min(per_span - spans[to]);
        spans[last] -= moved;
        spans[to] += moved;
        copies += moved;
        if spans[to] == per_span {
            to += 1;
        }
        if spans[last] == 0 {
            spans.pop();
        }
    }
    copies
}

/// One list: the first span goes into the next; the one that was filled is last from then on.
fn any(spans: Vec<usize>, per_span: usize) -> usize {
    let mut list: VecDeque<_> = spans.into_iter().filter(|used| *used < per_span).collect();
    let mut copies = 0;
    while let (Some(from), Some(to)) = (list.pop_front(), list.pop_front()) {
        let moved = from.min(per_span - to);
        copies += moved;
        if to + moved < per_span {
            list.push_back(to + moved);
        }
        if from > moved {
            list.push_front(from - moved);
        }
    }
    copies
}

/// As many of the emptiest spans as the others have room for.
fn fewest(mut spans: Vec<usize>, per_span: usize) -> usize {
    let objects: usize = spans.iter().sum();
    spans.sort();
    let gone = spans.len() - objects.div_ceil(per_span);
    spans.into_iter().take(gone).sum()
}
