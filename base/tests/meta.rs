//! Metadata: zero, aligned, nobody else's, and no more than was asked for.

#![cfg(not(loom))]

use kmem_base::config::{META_PAGES, PAGE_SIZE};
use kmem_base::meta::Meta;
use kmem_base::pages::{Kind, Pages, Thp};
use kmem_base::source::{FaultySource, Plan};
use kmem_testkit::{ShadowShards, SplitMix64};
use std::alloc::Layout;

fn supply() -> (&'static Pages, &'static FaultySource) {
    let source: &'static FaultySource = Box::leak(Box::new(FaultySource::new()));
    let pages: &'static Pages = Box::leak(Box::new(Pages::new(source)));
    pages.configure(64 << 20, 0, 32 << 20, Thp::Auto);
    (pages, source)
}

#[test]
fn pieces_are_zero_aligned_and_disjoint() {
    let (pages, _) = supply();
    let (meta, shadow, mut random) = (Meta::new(), ShadowShards::new(), SplitMix64::new(3));
    let mut asked = 0;
    for _ in 0..600 {
        let order = random.below(17);
        let (len, align) = (1 + random.below(1 << order), 1 << random.below(17));
        let piece = meta.alloc(pages, len, align).unwrap().as_ptr();
        shadow.insert(piece, Layout::from_size_align(len, align).unwrap()).unwrap();
        // SAFETY: ours, of that length.
        let bytes = unsafe { std::slice::from_raw_parts_mut(piece, len) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes.fill(7);
        asked += len;
        assert_eq!(meta.bytes(), asked);
        assert!(pages.is_used(piece.addr()) && pages.is_used(piece.addr() + len - 1));
        // Other users of pages, which no piece may reach into.
        let run = pages.alloc(1, 1, Kind::Large).unwrap();
        shadow.insert(run.address, Layout::from_size_align(PAGE_SIZE, PAGE_SIZE).unwrap()).unwrap();
    }
    assert!(pages.check());
}

#[test]
fn small_pieces_share_their_pages_and_large_ones_have_as_many_as_they_need() {
    let (pages, source) = supply();
    let meta = Meta::new();
    let chunk = META_PAGES as usize * PAGE_SIZE;
    let first = meta.alloc(pages, 64, 64).unwrap().as_ptr().addr();
    for at in 1..chunk / 64 {
        assert_eq!(meta.alloc(pages, 64, 64).unwrap().as_ptr().addr(), first + at * 64);
    }
    assert_eq!(pages.stats().used, chunk, "to the last byte");
    source.plan(Plan::From(0));
    assert!(meta.alloc(pages, 1 << 30, 8).is_none());
    assert_eq!(meta.bytes(), chunk, "what was refused does not count");
    source.plan(Plan::Never);
    meta.alloc(pages, chunk + 1, 8).unwrap();
    assert_eq!(pages.stats().used, 2 * chunk + PAGE_SIZE);
}
