//! Makes docs/tuning.md.

use kmem::Flags;
use kmem::slubq::{Cache, Slubq, Tunable};
use kmem_base::classes::{CLASSES, Class};
use kmem_base::knobs::{Accepts, Row, TABLE, When};
use std::fmt::{Display, Write};

const INTRO: &str = "\
# Tuning

<!-- Made by global/tests/tuning.rs from the tables in the code. To change it, change those, or the text there, and run
     KMEM_BLESS=1 cargo test -p kmem --test tuning -->

Nothing here has to be touched. There are *knobs*, one set per process, and *tunables*, one set per cache.

## Knobs

In order of precedence, the last word first:

1. At run time, for the knobs that can be turned at any time: `kmem::set(\"decay_ms:250\")`. An error says why not.
2. When the program starts, from the environment (unless it runs with more rights than its caller):
   `KMEM_CONF=decay_ms:250,percpu:locked`. What is not understood is reported on
   standard error and skipped. Whoever sets the environment decides, not the program.
3. In the program: `static A: Kmem = Kmem::new().with(Knob::DecayMs, 250);`. A value that is not accepted is a compile error. Words
   are numbers here: their place in the list, from 0.

Numbers may end in `k`, `m` or `g`: 2^10, 2^20, 2^30 times as much of the knob's unit.

";

const RECIPES: &str = "
### For what

| wish | setting |
|---|---|
| the least memory | `decay_ms:100,stash_kb:32,depot_kb:64` |
| fewer page faults and TLB misses in a large dense heap, whatever it costs in memory | `thp:on` |
| a program that pauses, and should find its memory warm | `decay_ms:10000`, or `decay_ms:0` for never |
| a bound on memory: null beyond it, and most programs end | `limit_mb:512` |
| misuse found at once, in the call that is guilty | `check:on` (slow) |
| the path that systems without restartable sequences take | `percpu:locked` |
| to see what the queues bring | `queues:off` |

`cargo run --example configure` shows the effect of some.
";

const TUNABLES: &str = "
## Tunables of a cache

They have the names that SLUB+Q gave them in sysfs, and can be changed while everybody goes on:

```rust
use kmem::slubq::Tunable;

let points = kmem::Cache::<(f64, f64), _>::alone(\"point\", kmem::Flags::NONE)?;
kmem::Slubq::get().tune(points.raw(), Tunable::CpuQueueSize, 64)?;
```

A cache that shares its slabs with others is tuned for all of them: hence `alone` here. `Slubq::for_each_cache` visits
every cache, the general ones included.

";

const CHOSEN: &str = "
A new queue size takes effect at once, and sets `batch_size` to half of it. Where other CPUs cannot be interrupted (`membarrier` is
missing) `cpu_queue_size` cannot be changed.

What a cache starts with depends on the size of its objects. `queues:off` and `check:on` make every `cpu_queue_size` 0. Object sizes
are those of the general caches; `shared_queue_size` is `depot_kb` divided by the object size.

| object size | cpu_queue_size | batch_size | shared_queue_size | min_partial |
|---|---|---|---|---|
";

/// The page, with the defaults that `slubq` has.
pub(crate) fn make(slubq: &Slubq) -> String {
    let mut page = String::from(INTRO);
    page += "| knob | default | accepts | can be turned | |\n|---|---|---|---|---|\n";
    TABLE.iter().for_each(|row| page += &knob(row));
    page += RECIPES;
    page += TUNABLES;
    page += "| tunable | accepts | |\n|---|---|---|\n";
    for tunable in Tunable::ALL {
        writeln!(page, "| `{}` | {} | {} |", tunable.name(), accepted(tunable), meaning(tunable)).unwrap();
    }
    page += CHOSEN;
    page += &defaults(slubq);
    page
}

fn knob(row: &Row) -> String {
    let (default, accepts) = match row.accepts {
        Accepts::Number(least, most) => (number(row.default), format!("{} to {}", number(least), number(most))),
        Accepts::Word(words) => (format!("`{}`", words[row.default as usize]), format!("`{}`", words.join("`, `"))),
    };
    let when = match row.when {
        When::Boot => "at boot",
        When::Any => "at any time",
    };
    format!("| `{}` | {default} | {accepts} | {when} | {} |\n", row.name, row.doc.trim())
}

/// As `KMEM_CONF` would have it; the large powers of two with their suffix.
fn number(value: u64) -> String {
    let suffix = [(30, 'g'), (20, 'm')].into_iter().find(|(shift, _)| value.is_power_of_two() && value >> shift > 0);
    suffix.map_or_else(|| value.to_string(), |(shift, suffix)| format!("{}{suffix}", value >> shift))
}

fn meaning(tunable: Tunable) -> &'static str {
    match tunable {
        Tunable::CpuQueueSize => "Objects queued per CPU, in main and spare sheaf together. 0: no queues.",
        Tunable::BatchSize => "Objects fetched from the slabs at once.",
        Tunable::SharedQueueSize => "Objects in each node's depot, rounded down to whole sheaves.",
        Tunable::MinPartial => "Empty slabs are kept as long as a shard has no more partial slabs than this.",
    }
}

/// Least and most, with a queue of `queue` objects.
pub(crate) fn range(tunable: Tunable, queue: u32) -> (u32, u32) {
    match tunable {
        Tunable::CpuQueueSize => (0, 10_000),
        Tunable::BatchSize => (1, queue.div_ceil(2).max(1)),
        Tunable::SharedQueueSize => (0, 1_000_000),
        Tunable::MinPartial => (0, 1000),
    }
}

fn accepted(tunable: Tunable) -> String {
    match (tunable, range(tunable, 2)) {
        (Tunable::BatchSize, (least, _)) => format!("{least} to half of `cpu_queue_size`, rounded up"),
        (_, (least, most)) => format!("{least} to {most}"),
    }
}

/// A row per run of general caches that start alike.
fn defaults(slubq: &Slubq) -> String {
    let caches: Vec<_> = (0..CLASSES).map(|class| slubq.general(Class::from_index(class)).unwrap()).collect();
    let alike =
        |cache: &Cache| [Tunable::CpuQueueSize, Tunable::BatchSize, Tunable::MinPartial].map(|tunable| cache.tunable(tunable));
    let mut rows = String::new();
    for run in caches.chunk_by(|a, b| alike(a) == alike(b)) {
        let [first, last] = [run[0], run[run.len() - 1]];
        let [queue, batch, partial] = alike(first);
        let sizes = span(first.object_size(), "to", last.object_size());
        let shared = span(first.tunable(Tunable::SharedQueueSize), "down to", last.tunable(Tunable::SharedQueueSize));
        writeln!(rows, "| {sizes} | {queue} | {batch} | {shared} | {partial} |").unwrap();
    }
    let low = super::cache(64, Flags::LOWMEM);
    let [queue, batch, shared, partial] = Tunable::ALL.map(|tunable| low.tunable(tunable));
    writeln!(rows, "| any, with `Flags::LOWMEM` | {queue} | {batch} | {shared} | {partial} |").unwrap();
    rows
}

fn span<T: Display + PartialEq>(first: T, word: &str, last: T) -> String {
    if first == last { first.to_string() } else { format!("{first} {word} {last}") }
}
