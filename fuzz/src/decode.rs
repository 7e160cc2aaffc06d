//! Bytes to sizes, knobs and failures.

use arbitrary::{Arbitrary, Result, Unstructured};
use kmem_base::knobs::Knob;
use kmem_base::source::{Call, Plan};
use std::sync::LazyLock;

/// A size of at least 1, spread over the powers of two up to `1 << most`.
pub(crate) fn size(u: &mut Unstructured<'_>, most: u8) -> Result<usize> {
    let top = 1_usize << (u.arbitrary::<u8>()? % (most + 1));
    let low = usize::from(u.arbitrary::<u16>()?);
    // The low values are distances from the top, where mistakes live.
    Ok(if low < 64 { top - low.min(top - 1) } else { (top / 2 + low * (top / 2) / 0xFFFF).max(1) })
}

/// Which calls to the system fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing(pub(crate) Plan);

impl<'a> Arbitrary<'a> for Failing {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (kind, n) = (u.arbitrary::<u8>()? % 8, u.arbitrary::<u8>()?);
        Ok(Self(match kind {
            0 | 1 => Plan::Nth(u64::from(n)),
            2 => Plan::From(u64::from(n)),
            3 => Plan::Kind(Call::ALL[usize::from(n) % Call::ALL.len()]),
            4 => Plan::Random { seed: u64::from(n), one_in: 1 + u64::from(n % 7) },
            _ => Plan::Never,
        }))
    }
}

/// A knob and a value for it that keeps a run small.
pub(crate) fn knob(u: &mut Unstructured<'_>) -> Result<(Knob, u64)> {
    // Without those that came later, so that inputs keep their meaning.
    static KNOBS: LazyLock<Vec<Knob>> = LazyLock::new(|| Knob::ALL.into_iter().filter(|knob| *knob != Knob::Front).collect());
    let knob = *u.choose(&KNOBS)?;
    Ok((knob, value(u, knob)?))
}

/// A value for a knob that keeps a run small.
pub(crate) fn value(u: &mut Unstructured<'_>, knob: Knob) -> Result<u64> {
    let n = u64::from(u.arbitrary::<u8>()?);
    Ok(match knob {
        Knob::PerCpu | Knob::Queues | Knob::Check | Knob::Merge | Knob::Front => n % 2,
        Knob::Cpus => n % 9,
        Knob::ArenaMb => 1 << (n % 11),
        Knob::Shards => n % 65,
        Knob::Nodes => n % 17,
        Knob::Thp => n % 3,
        Knob::HugeKb => 128 << (n % 10),
        Knob::DecayMs => [0, 1, 1000, 86_400_000][n as usize % 4],
        Knob::StashKb => [0, 4, 64, 512, 1 << 20][n as usize % 5],
        Knob::DepotKb => [0, 4, 64, 1024, 1 << 20][n as usize % 5],
        Knob::LimitMb => [0, 1, 4, 16, 64, 1 << 30][n as usize % 6],
    })
}

/// Prints an operation before it is carried out if `KMEM_TEST_TRACE` is in the environment, as the testkit does.
pub(crate) fn trace(op: &dyn std::fmt::Debug) {
    static WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("KMEM_TEST_TRACE").is_some());
    if *WANTED {
        eprintln!("{op:?}");
    }
}
