//! Rows in which contestants take turns, and what their ratios are.

use crate::bench::{Bench, Row};
use crate::compare::named;
use crate::contestant::Contestant;
use crate::harness::{Harness, RowResult, Task};
use crate::{Result, stats};

use super::Run;

/// What was measured: one result per row and turn.
pub(super) struct Times(Vec<RowResult>);

impl Times {
    /// Runs all rows, then all rows again: rows are compared with each other too.
    pub(super) fn measure(run: &Run<'_>, contestants: &[&'static Contestant], bench: &'static dyn Bench, rows: &[Row]) -> Self {
        let task = |row: &Row| Task { bench, row: row.clone() };
        let tasks: Vec<_> = (0..run.runs).flat_map(|_| rows.iter().map(task)).collect();
        Self(Harness { contestants, common: run.program.common, runs: 1 }.measure(&tasks, |_| ()))
    }

    /// Fails if a contestant did.
    pub(super) fn complete(self) -> Result<Self> {
        let failure = self.0.iter().flat_map(|result| &result.entries).find_map(|entry| entry.failure.clone());
        failure.map_or(Ok(self), |failure| Err(failure.into()))
    }

    /// Median seconds. `None` if the contestant failed in one of the turns.
    pub(super) fn seconds(&self, row: &str, alloc: &str) -> Option<f64> {
        stats::median(&self.turns(row, alloc)?)
    }

    /// Seconds of the fastest turn: what the others take beyond it is the machine's, not the allocator's.
    pub(super) fn fastest(&self, row: &str, alloc: &str) -> Option<f64> {
        self.turns(row, alloc)?.into_iter().reduce(f64::min)
    }

    /// Distance between slowest and fastest run, as a share of the median.
    pub(super) fn spread(&self, row: &str, alloc: &str) -> Option<f64> {
        stats::spread(&self.turns(row, alloc)?)
    }

    /// How many times as long one takes as the other: the median over the turns, in each of which both ran one after the other.
    pub(super) fn ratio(&self, one: (&str, &str), other: (&str, &str)) -> Option<f64> {
        let (one, other) = (self.turns(one.0, one.1)?, self.turns(other.0, other.1)?);
        let ratios: Vec<_> = one.iter().zip(&other).map(|(one, other)| one / other).collect();
        stats::median(&ratios)
    }

    fn turns(&self, row: &str, alloc: &str) -> Option<Vec<f64>> {
        let entries = self.0.iter().filter(|result| result.row == row).filter_map(|result| named(result, alloc));
        entries.map(|entry| entry.seconds()).collect()
    }
}

/// A figure, or a dash.
pub(super) fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Entry, Sample};

    fn turn(row: &str, a: f64, b: Option<f64>) -> RowResult {
        let entry = |alloc: &str, seconds: Option<f64>| Entry {
            alloc: alloc.to_owned(),
            samples: seconds.map(|seconds| Sample { seconds, ..Sample::default() }).into_iter().collect(),
            failure: seconds.is_none().then(|| "signal 11".to_owned()),
        };
        RowResult { bench: "rr".to_owned(), row: row.to_owned(), entries: vec![entry("a", Some(a)), entry("b", b)] }
    }

    #[test]
    fn ratios_are_those_of_the_same_turn() {
        let times =
            Times(vec![turn("r", 1.0, Some(2.0)), turn("r", 10.0, Some(30.0)), turn("r", 5.0, Some(5.0)), turn("s", 9.0, None)]);
        assert_eq!(times.seconds("r", "a"), Some(5.0));
        assert_eq!(times.ratio(("r", "b"), ("r", "a")), Some(2.0));
        assert_eq!(times.fastest("r", "b"), Some(2.0));
        assert_eq!(times.spread("r", "a"), Some(9.0 / 5.0));
        assert_eq!(times.seconds("s", "b"), None);
        assert_eq!(show(None, 2), "-");
        assert!(times.complete().is_err());
    }
}
