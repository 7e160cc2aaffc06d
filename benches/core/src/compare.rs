//! What the results say about kmem: ratios to it, rows that it loses, means over all rows.

use crate::contestant::is_kmem;
use crate::harness::{Entry, RowResult, Sample};
use crate::stats;

/// The contestant that all others are compared with.
pub(crate) const BASE: &str = "kmem";

/// Something measured, of which less is better.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    of: fn(&Sample) -> Option<f64>,
}

/// Seconds.
pub(crate) const TIME: Figure = Figure { name: "time", of: |sample| Some(sample.seconds) };
/// Peak resident memory in bytes.
pub(crate) const PEAK: Figure = Figure { name: "peak RSS", of: |sample| Some(sample.peak_rss_bytes as f64) };
/// Bytes that stay resident after the work, in rows that wait for it.
pub(crate) const SETTLED: Figure = Figure { name: "settled RSS", of: |sample| sample.settled_rss_bytes.map(|bytes| bytes as f64) };
/// What ranks beside the time: what stays, in rows that wait for it, or the peak.
pub(crate) const MEMORY: Figure = Figure {
    name: "memory (settled RSS where there is one, else peak)",
    of: |sample| Some(sample.settled_rss_bytes.unwrap_or(sample.peak_rss_bytes) as f64),
};

/// A row in which a rival is ahead.
pub(crate) struct Loss<'a> {
    pub(crate) result: &'a RowResult,
    pub(crate) winner: &'a Entry,
    /// kmem's figure divided by the winner's; infinite if kmem failed.
    pub(crate) ratio: f64,
    /// The larger spread of the two, as a share.
    pub(crate) noise: f64,
}

impl Loss<'_> {
    /// Whether the two are nearer to each other than their runs are.
    pub(crate) fn is_level(&self) -> bool {
        self.ratio - 1.0 <= self.noise
    }
}

impl Figure {
    /// Nothing for a contestant that failed, or whose runs do not all have the figure.
    fn values(&self, entry: &Entry) -> Vec<f64> {
        if entry.failure.is_some() {
            return Vec::new();
        }
        entry.samples.iter().map(self.of).collect::<Option<_>>().unwrap_or_default()
    }

    /// Median over the runs.
    pub(crate) fn median(&self, entry: &Entry) -> Option<f64> {
        stats::median(&self.values(entry))
    }

    /// Spread of the runs.
    pub(crate) fn spread(&self, entry: &Entry) -> Option<f64> {
        stats::spread(&self.values(entry))
    }

    /// The contestant's figure divided by kmem's.
    pub(crate) fn ratio(&self, result: &RowResult, entry: &Entry) -> Option<f64> {
        Some(self.median(entry)? / self.median(base(result)?)?)
    }

    /// Rows in which a rival is ahead, the largest loss first. One in which kmem failed is a loss without end.
    pub(crate) fn losses<'a>(&self, results: &'a [RowResult]) -> Vec<Loss<'a>> {
        let mut losses: Vec<_> = results.iter().filter_map(|result| self.loss(result)).collect();
        losses.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
        losses
    }

    fn loss<'a>(&self, result: &'a RowResult) -> Option<Loss<'a>> {
        let own = base(result)?;
        let figure = self.median(own).unwrap_or(f64::INFINITY);
        let measured = rivals(result).filter_map(|entry| Some((entry, self.median(entry)?)));
        let (winner, best) = measured.min_by(|a, b| a.1.total_cmp(&b.1))?;
        let noise = self.spread(own).unwrap_or(0.0).max(self.spread(winner).unwrap_or(0.0));
        (figure > best).then_some(Loss { result, winner, ratio: figure / best, noise })
    }

    /// Rows in which kmem met somebody.
    pub(crate) fn compared(&self, results: &[RowResult]) -> usize {
        let met = |result: &&RowResult| base(result).is_some() && rivals(result).any(|entry| self.median(entry).is_some());
        results.iter().filter(met).count()
    }

    /// Whether anybody has the figure in a row.
    pub(crate) fn is_in(&self, result: &RowResult) -> bool {
        result.entries.iter().any(|entry| self.median(entry).is_some())
    }

    /// Geometric mean of a contestant's ratios, and over how many rows.
    pub(crate) fn mean(&self, results: &[RowResult], alloc: &str) -> Option<(f64, usize)> {
        let ratio = |result: &RowResult| self.ratio(result, named(result, alloc)?);
        let ratios: Vec<_> = results.iter().filter_map(ratio).collect();
        Some((stats::geometric_mean(&ratios)?, ratios.len()))
    }
}

/// The contestant called `alloc`.
pub(crate) fn named<'a>(result: &'a RowResult, alloc: &str) -> Option<&'a Entry> {
    result.entries.iter().find(|entry| entry.alloc == alloc)
}

/// kmem's own entry.
pub(crate) fn base(result: &RowResult) -> Option<&Entry> {
    named(result, BASE)
}

/// All but kmem in its various forms.
pub(crate) fn rivals(result: &RowResult) -> impl Iterator<Item = &Entry> {
    result.entries.iter().filter(|entry| !is_kmem(&entry.alloc))
}

/// Every contestant, in the order of appearance.
pub(crate) fn contestants<'a>(results: impl IntoIterator<Item = &'a RowResult>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for entry in results.into_iter().flat_map(|result| &result.entries) {
        if !names.contains(&entry.alloc.as_str()) {
            names.push(&entry.alloc);
        }
    }
    names
}

/// The contestants of a row, least first; those without the figure last.
pub(crate) fn least_first<'a>(result: &'a RowResult, figure: &Figure) -> Vec<&'a Entry> {
    let mut sorted: Vec<_> = result.entries.iter().collect();
    let key = |entry: &Entry| figure.median(entry).unwrap_or(f64::INFINITY);
    sorted.sort_by(|a, b| key(a).total_cmp(&key(b)));
    sorted
}
