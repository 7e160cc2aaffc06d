//! Operations decoded from the bytes of a fuzzer.

use crate::op::Op;
use arbitrary::{Arbitrary, Result, Unstructured};

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        // A few bytes to an operation, so that short inputs go a long way.
        let kind = u.int_in_range(0..=31u8)?;
        let slot = u16::from(u.arbitrary::<u8>()?);
        Ok(match kind {
            0..=11 => Op::Alloc { slot, size: size(u)?, align: align(u)?, zeroed: kind == 0 },
            12..=19 => Op::Free { slot },
            20..=23 => Op::Realloc { slot, size: size(u)? },
            24..=25 => Op::AllocBatch { slot, count: u.int_in_range(1..=32)?, size: size(u)? },
            26..=27 => Op::FreeBatch { slot, count: u.int_in_range(1..=32)? },
            28 => Op::Trim,
            29 => Op::Check,
            30 => Op::Drain,
            _ => Op::Pass { slot },
        })
    }
}

/// Up to 1 KiB in three of four cases, up to 4 MiB otherwise.
fn size(u: &mut Unstructured<'_>) -> Result<usize> {
    let log = u.int_in_range(0..=31u32)?;
    let log = if log < 24 { log % 10 } else { 10 + (log - 24) * 12 / 7 };
    let top = 1usize << log;
    let low = usize::from(u.arbitrary::<u16>()?);
    // Spread the low bits over the range, and reach its upper border too.
    Ok((top + low * top / 0xffff).min(4 << 20))
}

/// Up to 16 in three of four cases, up to 128 KiB otherwise.
fn align(u: &mut Unstructured<'_>) -> Result<usize> {
    let dice = u.int_in_range(0..=63u32)?;
    Ok(1 << if dice < 48 { dice % 5 } else { dice - 46 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SplitMix64;

    #[test]
    fn bytes_decode_to_all_kinds() {
        let mut rng = SplitMix64::new(1);
        let bytes: Vec<u8> = (0..60_000).map(|_| rng.next_u64() as u8).collect();
        let mut u = Unstructured::new(&bytes);
        let ops: Vec<Op> = (0..5000).map(|_| u.arbitrary().unwrap()).collect();
        for probe in [Op::Trim, Op::Check, Op::Drain] {
            assert!(ops.contains(&probe));
        }
        assert!(ops.iter().any(|op| matches!(op, Op::Alloc { size: 2_000_000.., .. })));
        assert!(ops.iter().any(|op| matches!(op, Op::Alloc { align: 65536.., .. })));
    }
}
