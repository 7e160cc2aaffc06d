//! The oracles used directly, with blocks of a local array.

use kmem_testkit::{Shadow, ShadowShards, SplitMix64, Violation};
use std::alloc::Layout;

#[repr(align(64))]
struct Arena([u8; 4096]);

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

#[test]
fn blocks_come_and_go() {
    let mut arena = Arena([0; 4096]);
    let base = arena.0.as_mut_ptr();
    let mut shadow = Shadow::new();
    // SAFETY: all blocks lie in the arena, which only the oracle writes.
    unsafe {
        shadow.allocated(base, layout(64), true).unwrap();
        shadow.allocated(base.add(64), layout(8), true).unwrap();
        assert_eq!((shadow.live_blocks(), shadow.live_bytes()), (2, 72));
        shadow.verify_all().unwrap();
        shadow.freeing(base, layout(64)).unwrap();
        // Grows to lower addresses, over its own old place.
        base.add(64).copy_to(base.add(8), 8);
        shadow.reallocated(base.add(64), layout(8), base.add(8), 80).unwrap();
        assert_eq!((shadow.live_blocks(), shadow.live_bytes()), (1, 80));
        shadow.freeing(base.add(8), layout(80)).unwrap();
    }
    assert_eq!((shadow.live_blocks(), shadow.live_bytes()), (0, 0));
}

#[test]
fn misuse_is_told() {
    let mut arena = Arena([0; 4096]);
    let base = arena.0.as_mut_ptr();
    let mut shadow = Shadow::new();
    // SAFETY: all blocks lie in the arena, which only the oracle writes.
    unsafe {
        shadow.allocated(base, layout(64), false).unwrap();
        let wrong = shadow.freeing(base, layout(56)).unwrap_err();
        assert!(matches!(wrong, Violation::WrongLayout { .. }));
        let dirty = shadow.allocated(base.add(64), layout(8), false);
        dirty.and_then(|()| shadow.freeing(base.add(64), layout(8))).unwrap();
        let dirty = shadow.allocated(base.add(64), layout(8), true).unwrap_err();
        assert!(matches!(dirty, Violation::NotZeroed { .. }));
        let null = shadow.reallocated(base, layout(64), std::ptr::null_mut(), 8).unwrap_err();
        assert!(matches!(null, Violation::Null { .. }));
        shadow.freeing(base, layout(64)).unwrap();
        let twice = shadow.freeing(base, layout(64)).unwrap_err();
        assert!(matches!(twice, Violation::NotLive { .. }));
    }
}

#[test]
fn wrapping_and_empty_blocks_are_told() {
    let shards = ShadowShards::new();
    let last = std::ptr::without_provenance(usize::MAX - 7);
    assert!(matches!(shards.insert(last, layout(64)), Err(Violation::Wraps { .. })));
    let one = std::ptr::without_provenance(64);
    assert!(matches!(shards.insert(one, layout(0)), Err(Violation::ZeroSized { .. })));
}

/// Compares the shards, on addresses that are never touched, with a plain list.
#[test]
fn shards_agree_with_a_list() {
    let shards = ShadowShards::new();
    let mut rng = SplitMix64::new(11);
    let mut live: Vec<(usize, usize)> = Vec::new();
    let at = |addr| std::ptr::without_provenance(addr);
    for _ in 0..20_000 {
        if rng.percent(45) && !live.is_empty() {
            let (addr, size) = live.swap_remove(rng.below(live.len()));
            shards.remove(at(addr), layout(size)).unwrap();
            continue;
        }
        let addr = 0x10_0000 + 8 * rng.below(1 << 17);
        let longest = [64, 4096, 200_000][rng.below(3)];
        let size = 1 + rng.below(longest);
        let free = live.iter().all(|&(other, len)| addr + size <= other || other + len <= addr);
        if free {
            shards.insert(at(addr), layout(size)).unwrap();
            live.push((addr, size));
        } else if rng.percent(1) {
            // A failed insertion may leave pieces behind: the run is over.
            let fresh = ShadowShards::new();
            for &(addr, size) in &live {
                fresh.insert(at(addr), layout(size)).unwrap();
            }
            let found = fresh.insert(at(addr), layout(size)).unwrap_err();
            assert!(matches!(found, Violation::Overlap { .. }));
        }
    }
    assert_eq!(shards.live_blocks(), live.len());
    assert_eq!(shards.live_bytes(), live.iter().map(|block| block.1).sum::<usize>());
}
