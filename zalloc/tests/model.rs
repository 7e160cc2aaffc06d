//! Random operations against a map of what every handle should lead to.

mod common;

use common::{Op, World};
use kmem_zalloc::Zspool;
use proptest::prelude::*;

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![1_usize..=4096, 1_usize..=64, 2000_usize..=2100, 3800_usize..=4096, Just(4096_usize)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (size(), any::<u8>()).prop_map(|(size, seed)| Op::Insert { size, seed }),
        1 => size().prop_map(|size| Op::Alloc { size }),
        6 => any::<u16>().prop_map(|which| Op::Free { which }),
        3 => (any::<u16>(), 0_usize..5000, any::<u8>()).prop_map(|(which, len, seed)| Op::Write { which, len, seed }),
        3 => any::<u16>().prop_map(|which| Op::Read { which }),
        2 => any::<u16>().prop_map(|which| Op::Pin { which }),
        2 => any::<u16>().prop_map(|which| Op::Unpin { which }),
        1 => any::<u16>().prop_map(|which| Op::Stale { which }),
        1 => any::<u64>().prop_map(|bits| Op::Invent { bits }),
        1 => (0_usize..40).prop_map(|budget| Op::Compact { budget }),
        1 => Just(Op::CompactAll),
        1 => Just(Op::Punch),
        1 => Just(Op::Trim),
    ]
}

/// `KMEM_STORM` times as many cases.
fn cases() -> u32 {
    let scale = std::env::var("KMEM_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(1_u32);
    64 * scale
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_is_a_map(ops in proptest::collection::vec(op(), 1..400)) {
        let pool = Zspool::builder().shards(1).build();
        World::new(&pool).run(&ops);
    }

    #[test]
    fn a_pool_of_few_sizes_is_a_map(sizes in proptest::collection::vec(size(), 1..4), ops in proptest::collection::vec(op(), 1..600)) {
        let pool = Zspool::builder().shards(1).build();
        let ops: Vec<Op> = ops.into_iter().map(|op| match op {
            Op::Insert { size, seed } => Op::Insert { size: sizes[size % sizes.len()], seed },
            op => op,
        }).collect();
        World::new(&pool).run(&ops);
    }
}
