//! `zpool`: kmem-zalloc's pool on real pages, beside the kernel's former allocators and a `Box` for each object.

mod baselines;
mod copies;
mod corpus;
mod kept;
mod memory;
mod speed;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use kmem_zalloc::codec::{Codec, Lz4};
use kmem_zalloc::pool::same_filled;

use crate::bench::Scale;
use crate::contestant::Contestant;
use crate::harness::{Harness, RowResult, Task};
use crate::{Result, machine};
use corpus::{Corpus, PAGE, Packed};
pub(crate) use kept::Kept;

/// Name of the sub-command.
pub(crate) const NAME: &str = "zpool";
/// What it does.
pub(crate) const ABOUT: &str =
    "kmem-zalloc on real pages: density, compaction, latency, throughput, beside its predecessors and Box";

/// Figures with a target, to be listed at the end.
#[derive(Default)]
struct Verdicts(Vec<(bool, String)>);

impl Verdicts {
    fn at_least(&mut self, what: &str, value: f64, target: f64, unit: &str) {
        self.add(value >= target, what, value, "at least", target, unit);
    }

    fn at_most(&mut self, what: &str, value: f64, target: f64, unit: &str) {
        self.add(value <= target, what, value, "at most", target, unit);
    }

    fn add(&mut self, reached: bool, what: &str, value: f64, bound: &str, target: f64, unit: &str) {
        let verdict = if reached { "reached" } else { "MISSED" };
        self.0.push((reached, format!("{verdict:<8} {what:<56}{value:>9.2} {unit:<3} ({bound} {target})")));
    }

    /// Those that were missed first.
    fn text(&self) -> String {
        let missed = self.0.iter().filter(|(reached, _)| !reached);
        let reached = self.0.iter().filter(|(reached, _)| *reached);
        missed.chain(reached).fold(String::new(), |text, (_, line)| text + line + "\n")
    }
}

/// For what has been done for its effect.
fn ignore<T>(_: T) {}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("kmem-bench-zpool-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a pool stores of pages: nothing of same-filled ones, and those as they are that do not become an eighth less.
fn pack<'a>(pages: impl Iterator<Item = &'a [u8]>) -> Result<(Packed, usize)> {
    let mut work = Lz4.work(PAGE).ok_or("no memory")?;
    let (mut buffer, mut packed, mut filled) = (vec![0; Lz4.bound(PAGE)], Packed::default(), 0);
    for page in pages {
        if same_filled(page).is_some() {
            filled += 1;
            continue;
        }
        let written = Lz4.compress(&mut work, page, &mut buffer).filter(|len| *len <= PAGE * 7 / 8);
        packed.push(written.map_or(page, |len| &buffer[..len]));
    }
    Ok((packed, filled))
}

/// Measures, and returns the report.
pub(crate) fn run(contestants: &[&'static Contestant], scale: Scale, runs: u32) -> Result<String> {
    let folder = Folder::new()?;
    let (mut skipped, mut text, mut verdicts) = (Vec::new(), String::new(), Verdicts::default());
    let corpora = corpus::all(scale.pick(4, 32, 160), &folder.0, &mut skipped);
    if corpora.is_empty() {
        return Err(format!("no pages: {}", skipped.join("; ")).into());
    }
    let _ = writeln!(
        text,
        "machine: {}\npages of {PAGE} bytes in LZ4; stored as they are if that saves less than an eighth",
        machine::facts()
    );
    skipped.iter().for_each(|line| text.push_str(&format!("skipped: {line}\n")));
    densities(&corpora, scale, &mut text, &mut verdicts)?;
    let pages: Vec<&[u8]> = corpora.iter().flat_map(Corpus::pages).collect();
    let (packed, _) = pack(pages.iter().copied())?;
    text.push_str("\nAll of them\n");
    memory::metadata(&packed, &mut text, &mut verdicts)?;
    memory::compaction(&packed, &mut text, &mut verdicts)?;
    in_processes(contestants, &packed, &folder.0, scale, runs, &mut text, &mut verdicts)?;
    text.push_str("\nSpeed\n");
    memory::reads(&packed, &mut text, &mut verdicts)?;
    let some = spread(&pages, scale.pick(200, 4096, 8192));
    speed::beside_codec(&some, &mut text, &mut verdicts)?;
    speed::scaling(&some, &mut text, &mut verdicts)?;
    speed::filled(&some, &mut text)?;
    let _ = writeln!(text, "\nTargets\n{}", verdicts.text().trim_end());
    Ok(text)
}

/// About `count` of the pages, from all over.
fn spread<'a>(pages: &[&'a [u8]], count: usize) -> Vec<&'a [u8]> {
    pages.iter().copied().step_by((pages.len() / count).max(1)).collect()
}

fn densities(corpora: &[Corpus], scale: Scale, text: &mut String, verdicts: &mut Verdicts) -> Result<()> {
    let _ = writeln!(
        text,
        "\n{:<26}{:>9}{:>8}{:>9}{:>10}{:>10}{:>10}",
        "Density", "objects", "mean", "zspool", "zbud", "z3fold", "xvmalloc"
    );
    let mut filled = 0;
    for corpus in corpora {
        let (packed, same) = pack(corpus.pages())?;
        filled += same;
        memory::density(corpus.name, &packed, None, text, verdicts)?;
    }
    let (all, _) = pack(corpora.iter().flat_map(Corpus::pages))?;
    memory::density("all of them", &all, Some(97.8), text, verdicts)?;
    let large = memory::drawn(scale.pick(500, 10_000, 40_000), 2049, 4000);
    memory::density("sizes 2049 to 4000", &large, Some(97.0), text, verdicts)?;
    let _ = writeln!(text, "(another {filled} pages are same-filled and take nothing)");
    Ok(())
}

/// The same objects in processes of their own: in a `Zspool`, and in a `Box` each on every contestant.
fn in_processes(
    contestants: &[&'static Contestant],
    packed: &Packed,
    folder: &Path,
    scale: Scale,
    runs: u32,
    text: &mut String,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let file = folder.join("objects");
    packed.save(&file)?;
    let task =
        |keeper, replace| Task { bench: &Kept, row: kept::row(keeper, &file.to_string_lossy(), packed.len(), replace, scale) };
    let measure = |keeper, replace, contestants: &[&'static Contestant]| {
        Harness { contestants, common: &[], runs: runs as usize }.measure(&[task(keeper, replace)], |_| ())
    };
    let first = contestants.get(..1).unwrap_or_default();
    let (spool, boxes) = (measure("spool", false, first), measure("boxes", false, contestants));
    let (spool_again, boxes_again) = (measure("spool", true, first), measure("boxes", true, contestants));
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let objects = mib(packed.total() as f64);
    let _ = writeln!(text, "\nGrowth of a process that keeps {objects:.1} MiB of compressed objects, in MiB");
    let freed = format!("{} % freed, settled", kept::FREED);
    let _ = writeln!(text, "{:<26}{:>10}{:>10}{:>26}{freed:>24}", "", "filled", "density", "each replaced, settled");
    let pool = |rows| entries(rows).next().map_or((f64::NAN, f64::NAN), |(_, full, after)| (full, after));
    let ((pool_full, _), (_, pool_again)) = (pool(&spool), pool(&spool_again));
    let named = entries(&spool).map(|(_, full, after)| ("zspool", full, after)).chain(entries(&boxes));
    let again = entries(&spool_again).chain(entries(&boxes_again)).map(|(_, _, after)| after);
    for ((name, full, after), again) in named.zip(again) {
        let density = percent(objects / mib(full));
        let _ = writeln!(text, "{name:<26}{:>10.1}{density:>10}{:>26.1}{:>24.1}", mib(full), mib(again), mib(after));
        if name != "zspool" {
            verdicts.at_most(&format!("growth of a process, of that with Box on {name}"), pool_full / full, 1.0, "x");
            verdicts.at_most(&format!("... after each was replaced, on {name}"), pool_again / again, 1.0, "x");
        }
    }
    let mut all = [&spool, &boxes, &spool_again, &boxes_again].into_iter().flatten().flat_map(|row| &row.entries);
    all.find_map(|entry| entry.failure.as_ref()).map_or(Ok(()), |failure| Err(failure.clone().into()))
}

/// Contestant, bytes when filled, and bytes in the end.
fn entries(rows: &[RowResult]) -> impl Iterator<Item = (&str, f64, f64)> {
    rows.iter().flat_map(|row| &row.entries).filter_map(|entry| Some((entry.alloc.as_str(), entry.live()?, entry.settled_rss()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_list_what_was_missed_first() {
        let mut verdicts = Verdicts::default();
        verdicts.at_least("one", 2.0, 1.0, "x");
        verdicts.at_most("two", 2.0, 1.0, "x");
        let text = verdicts.text();
        assert!(text.find("MISSED").unwrap() < text.find("reached").unwrap() && text.contains("two"), "{text}");
    }
}
