//! Doubly linked lists of things that lie in a vector, by their numbers.

use super::slots::NONE;

/// Neighbours in one list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Links {
    pub(super) next: u32,
    pub(super) previous: u32,
}

impl Links {
    /// In no list.
    pub(super) const NONE: Self = Self { next: NONE, previous: NONE };
}

/// What can be in list `L`.
pub(super) trait Node<const L: usize> {
    fn links(&self) -> &Links;
    fn links_mut(&mut self) -> &mut Links;
}

/// First and last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct List<const L: usize> {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl<const L: usize> List<L> {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };

    /// Puts `id` before all others.
    pub(super) fn push<T: Node<L>>(&mut self, nodes: &mut [T], id: u32) {
        *nodes[id as usize].links_mut() = Links { next: self.first, previous: NONE };
        match self.first {
            NONE => self.last = id,
            first => nodes[first as usize].links_mut().previous = id,
        }
        self.first = id;
    }

    /// Takes `id` out.
    pub(super) fn unlink<T: Node<L>>(&mut self, nodes: &mut [T], id: u32) {
        let Links { next, previous } = core::mem::replace(nodes[id as usize].links_mut(), Links::NONE);
        match previous {
            NONE => self.first = next,
            previous => nodes[previous as usize].links_mut().next = next,
        }
        match next {
            NONE => self.last = previous,
            next => nodes[next as usize].links_mut().previous = previous,
        }
    }

    /// Walks it, and says how many there are; an error if a link does not lead back, or leads round in circles.
    pub(super) fn check<T: Node<L>>(&self, nodes: &[T], mut each: impl FnMut(u32) -> bool) -> Result<usize, &'static str> {
        let (mut count, mut previous, mut at) = (0, NONE, self.first);
        while at != NONE {
            let Some(node) = nodes.get(at as usize) else { return Err("a list leads out of its vector") };
            if node.links().previous != previous || count > nodes.len() {
                return Err("a list's links contradict each other");
            }
            if !each(at) {
                return Err("a list has what does not belong into it");
            }
            (previous, at, count) = (at, node.links().next, count + 1);
        }
        if previous == self.last { Ok(count) } else { Err("a list's end is not its end") }
    }
}
