//! Every knob, in one table. `KMEM_CONF`, the const builder and run-time control all speak its names; docs/tuning.md is made from
//! it and checked against it in a test.

use crate::fault;
use crate::sync::{AtomicU64, Ordering, const_fn, filled};

/// When a knob can be turned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Only before the first allocation: by the const builder or `KMEM_CONF`.
    Boot,
    /// At any time.
    Any,
}

/// What a knob accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepts {
    /// A whole number in this range, with an optional suffix `k`, `m` or `g` (powers of 1024).
    Number(u64, u64),
    /// One of these words; the value is its index.
    Word(&'static [&'static str]),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name, with its unit if it has one.
    pub name: &'static str,
    /// The value unless told otherwise.
    pub default: u64,
    /// Accepted values.
    pub accepts: Accepts,
    /// When it can be turned.
    pub when: When,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

macro_rules! knobs {
    ($($(#[doc = $doc:literal])+ $name:ident $text:literal = $default:expr, $accepts:expr, $when:ident;)+) => {
        /// A knob.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Knob { $($(#[doc = $doc])+ $name),+ }

        /// The table, in the order of [`Knob`].
        pub const TABLE: &[Row] = &[$(Row {
            name: $text, default: $default, accepts: $accepts, when: When::$when, doc: concat!($($doc),+),
        }),+];

        /// Number of knobs.
        const COUNT: usize = TABLE.len();

        impl Knob {
            /// Every knob, in the order of [`TABLE`].
            pub const ALL: [Self; COUNT] = [$(Self::$name),+];
        }
    };
}

const ON_OFF: Accepts = Accepts::Word(&["off", "on"]);

knobs! {
    /// How per-CPU queues are kept: restartable sequences where the system has them, or a lock per CPU.
    PerCpu "percpu" = 0, Accepts::Word(&["auto", "locked"]), Boot;
    /// Rows of the per-CPU table; threads on CPUs beyond it share the slow path. 0: one per CPU that the process may run on, and more
    /// when it is found on others.
    Cpus "cpus" = 0, Accepts::Number(0, 4096), Boot;
    /// Per-CPU queues. Off, every operation goes to the slabs: slow, for measuring what the queues bring.
    Queues "queues" = 1, ON_OFF, Boot;
    /// Checks every free at once instead of when a queue is flushed. Implies no queues.
    Check "check" = 0, ON_OFF, Boot;
    /// Gives equal caches the same slabs, as the kernel does, unless a cache asks to be alone.
    Merge "merge" = 1, ON_OFF, Boot;
    /// Address space of the first arena in MiB; 0: 64 GiB. An eighth of what the system refuses.
    ArenaMb "arena_mb" = 0, Accepts::Number(0, 1 << 20), Boot;
    /// Shards of each cache's partial lists; 0: one per CPU, at most 16. Rounded down to a power of two.
    Shards "shards" = 0, Accepts::Number(0, 64), Boot;
    /// Memory nodes to keep apart; 0: as many as the machine has. More than it has fakes them, for tests.
    Nodes "nodes" = 0, Accepts::Number(0, 16), Boot;
    /// Blocks of at least this many KiB get a mapping of their own, which grows by moving page tables instead of bytes.
    HugeKb "huge_kb" = 32 << 10, Accepts::Number(128, 1 << 30), Any;
    /// Huge pages (where the system gives them on request): nowhere, behind huge blocks that have grown, or everywhere.
    Thp "thp" = 1, Accepts::Word(&["off", "auto", "on"]), Any;
    /// Milliseconds after which unused memory starts to go back: free pages, empty slabs and unused OS pages of others, depots, idle queues.
    /// 0: never.
    DecayMs "decay_ms" = 250, Accepts::Number(0, 86_400_000), Any;
    /// KiB of objects that one CPU stashes beyond its queues, all caches together.
    StashKb "stash_kb" = 2048, Accepts::Number(0, 1 << 20), Boot;
    /// KiB of objects that a node's depot holds per cache.
    DepotKb "depot_kb" = 64, Accepts::Number(0, 1 << 20), Boot;
    /// What stands before the slabs of kmem-slab: Linux's array caches, or Bonwick's magazines.
    Front "front" = 0, Accepts::Word(&["arrays", "magazines"]), Boot;
    /// Hard limit on memory in use in MiB: beyond it allocation returns null. 0: none.
    LimitMb "limit_mb" = 0, Accepts::Number(0, 1 << 30), Any;
}

/// Why a setting was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No knob of that name.
    Unknown,
    /// Not a value that the knob accepts.
    Value,
    /// The knob can only be turned before the first allocation.
    TooLate,
}

impl Refusal {
    /// What to tell the user.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Unknown => "no such knob: ",
            Self::Value => "not a value of this knob: ",
            Self::TooLate => "can only be set before the first allocation: ",
        }
    }
}

impl Knob {
    /// The knob called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|knob| knob.row().name == name)
    }

    /// Its row of the table.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    const fn accepts(self, value: u64) -> bool {
        match self.row().accepts {
            Accepts::Number(least, most) => least <= value && value <= most,
            Accepts::Word(words) => value < words.len() as u64,
        }
    }

    /// Reads a value as `KMEM_CONF` spells it.
    ///
    /// # Errors
    /// [`Refusal::Value`] if the knob does not accept it.
    pub fn parse(self, text: &str) -> Result<u64, Refusal> {
        let value = match self.row().accepts {
            Accepts::Number(..) => number(text),
            Accepts::Word(words) => words.iter().position(|word| *word == text).map(|at| at as u64),
        };
        value.filter(|value| self.accepts(*value)).ok_or(Refusal::Value)
    }
}

fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' => (text.get(..text.len() - 1)?, 10),
        b'm' => (text.get(..text.len() - 1)?, 20),
        b'g' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The knobs' values.
#[derive(Debug)]
pub struct Knobs([AtomicU64; COUNT]);

/// Values to start from: what the const builder collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings([u64; COUNT]);

impl Settings {
    /// Every knob at its default.
    #[must_use]
    pub const fn new() -> Self {
        let mut values = [0; COUNT];
        let mut i = 0;
        while i < COUNT {
            values[i] = TABLE[i].default;
            i += 1;
        }
        Self(values)
    }

    /// The same with `knob` at `value`.
    ///
    /// # Panics
    /// If the knob does not accept the value; in a `static` that is a compile error.
    #[must_use]
    pub const fn with(mut self, knob: Knob, value: u64) -> Self {
        assert!(knob.accepts(value), "not a value of this knob");
        self.0[knob as usize] = value;
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl Knobs {
    const_fn! {
        /// Every knob at its default.
        #[must_use]
        pub const fn new() -> Self {
            Self(filled![AtomicU64::new(0); COUNT])
        }
    }

    /// The value of `knob`.
    #[inline]
    #[must_use]
    pub fn get(&self, knob: Knob) -> u64 {
        self.0[knob as usize].load(Ordering::Relaxed)
    }

    /// True if an on/off knob is on.
    #[must_use]
    pub fn on(&self, knob: Knob) -> bool {
        self.get(knob) != 0
    }

    /// Takes over `settings`; at boot.
    pub fn start(&self, settings: &Settings) {
        for (place, value) in self.0.iter().zip(settings.0) {
            place.store(value, Ordering::Relaxed);
        }
    }

    /// Turns a knob while running.
    ///
    /// # Errors
    /// If the value is not accepted, or the knob can only be turned before the first allocation.
    pub fn set(&self, knob: Knob, value: u64) -> Result<(), Refusal> {
        if !knob.accepts(value) {
            return Err(Refusal::Value);
        }
        if knob.row().when == When::Boot {
            return Err(Refusal::TooLate);
        }
        self.0[knob as usize].store(value, Ordering::Relaxed);
        Ok(())
    }

    /// Takes settings in the form `name:value,name:value`; at boot, where every knob can be turned. What is not understood is
    /// reported on standard error and skipped.
    pub fn configure(&self, text: &str) {
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match setting(part) {
                Ok((knob, value)) => self.0[knob as usize].store(value, Ordering::Relaxed),
                Err(refusal) => fault::warn(refusal.message(), part),
            }
        }
    }
}

impl Default for Knobs {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads one `name:value`.
///
/// # Errors
/// [`Refusal::Unknown`] or [`Refusal::Value`].
pub fn setting(part: &str) -> Result<(Knob, u64), Refusal> {
    let (name, value) = part.split_once(':').ok_or(Refusal::Value)?;
    let knob = Knob::named(name.trim()).ok_or(Refusal::Unknown)?;
    Ok((knob, knob.parse(value.trim())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_accepted_and_every_name_found() {
        for knob in Knob::ALL {
            assert!(knob.accepts(knob.row().default), "{knob:?}");
            assert_eq!(Knob::named(knob.row().name), Some(knob));
        }
    }

    #[test]
    fn settings_are_read_and_nonsense_refused() {
        assert_eq!(setting("percpu:locked"), Ok((Knob::PerCpu, 1)));
        assert_eq!(setting(" huge_kb : 1m "), Ok((Knob::HugeKb, 1 << 20)));
        assert_eq!(setting("percpu"), Err(Refusal::Value));
        assert_eq!(setting("percpu:maybe"), Err(Refusal::Value));
        assert_eq!(setting("nonesuch:1"), Err(Refusal::Unknown));
        for bad in ["", "-1", "+1", "1kk", "k", "99999999999999999999", "18446744073709551615g"] {
            assert_eq!(Knob::DecayMs.parse(bad), Err(Refusal::Value), "{bad}");
        }
    }

    #[test]
    fn every_knob_takes_its_range_and_nothing_else() {
        for knob in Knob::ALL {
            let (least, most) = match knob.row().accepts {
                Accepts::Number(least, most) => (least, most),
                Accepts::Word(words) => (0, words.len() as u64 - 1),
            };
            assert!(knob.accepts(least) && knob.accepts(most) && !knob.accepts(most + 1), "{knob:?}");
            assert!(least == 0 || !knob.accepts(least - 1), "{knob:?}");
            assert_eq!(Settings::new().with(knob, most).0[knob as usize], most);
            let knobs = Knobs::new();
            knobs.start(&Settings::default());
            assert_eq!((knobs.get(knob), knobs.on(knob)), (knob.row().default, knob.row().default != 0));
            assert_eq!(knobs.set(knob, most), if knob.row().when == When::Any { Ok(()) } else { Err(Refusal::TooLate) });
        }
        let messages = [Refusal::Unknown, Refusal::Value, Refusal::TooLate].map(Refusal::message);
        assert!(messages.iter().all(|message| message.ends_with(": ")));
        assert!(messages[0] != messages[1] && messages[1] != messages[2]);
    }

    #[test]
    fn numbers_have_suffixes() {
        for (text, value) in [("0", 0), ("7", 7), ("3k", 3 << 10), ("2m", 2 << 20), ("1g", 1 << 30)] {
            assert_eq!((number(text), Knob::LimitMb.parse(text)), (Some(value), Ok(value)));
        }
    }

    #[test]
    fn knobs_of_boot_are_fixed_afterwards() {
        let knobs = Knobs::new();
        knobs.start(&Settings::new().with(Knob::DecayMs, 7));
        assert_eq!(knobs.get(Knob::DecayMs), 7);
        knobs.configure("decay_ms:9,,merge:off");
        assert_eq!((knobs.get(Knob::DecayMs), knobs.on(Knob::Merge)), (9, false));
        assert_eq!(knobs.set(Knob::DecayMs, 5), Ok(()));
        assert_eq!(knobs.set(Knob::Merge, 1), Err(Refusal::TooLate));
        assert_eq!(knobs.set(Knob::HugeKb, 0), Err(Refusal::Value));
    }
}
