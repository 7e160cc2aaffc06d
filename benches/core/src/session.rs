//! A run as a file: every single figure, and on what, with what and when it was measured. The page is made of such files.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::harness::RowResult;
use crate::{Error, Result};

/// Version of the file's form. Fields that are added do not change it: those that a reader does not know are left alone.
const FORM: u32 = 1;

/// What is known of a run besides its figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Day on which it ended, in UTC.
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) cpus: usize,
    /// Versions of the allocators.
    pub(crate) versions: String,
    /// Settings of contestants.
    pub(crate) settings: String,
    /// Runs per contestant and row.
    pub(crate) runs: usize,
    /// Whether it was a full run or a `--quick` one.
    pub(crate) scale: String,
    /// Peak of a child that did nothing.
    pub(crate) idle_rss_bytes: u64,
}

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    kmem_bench: u32,
    #[serde(flatten)]
    pub(crate) facts: Facts,
    pub(crate) rows: Vec<RowResult>,
}

/// The field that tells our files from others.
#[derive(Deserialize)]
struct Mark {
    kmem_bench: u32,
}

impl Session {
    /// A run that has just ended.
    pub(crate) fn new(facts: Facts, rows: Vec<RowResult>) -> Self {
        Self { kmem_bench: FORM, facts, rows }
    }

    /// Reads a run.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let explain = |error: Error| Error::from(format!("{}: {error}", path.display()));
        let value = File::open(path).map_err(Error::from).and_then(|file| Ok(serde_json::from_reader(BufReader::new(file))?));
        Self::read(value.map_err(explain)?).map_err(explain)
    }

    fn read(value: serde_json::Value) -> Result<Self> {
        let Ok(mark) = Mark::deserialize(&value) else {
            return Err("not a run that `--save` has written (the medians of `--json` are not enough)".into());
        };
        if mark.kmem_bench != FORM {
            return Err(format!("written in form {}, this program reads form {FORM}", mark.kmem_bench).into());
        }
        let session = Self::deserialize(value)?;
        if session.rows.is_empty() {
            return Err("a run without rows".into());
        }
        Ok(session)
    }

    /// Writes it.
    pub(crate) fn save(&self, file: File) -> Result<()> {
        let mut out = BufWriter::new(file);
        serde_json::to_writer_pretty(&mut out, self)?;
        Ok(writeln!(out)?)
    }
}

/// All rows of several runs. A row that was run again takes the place of the earlier one.
pub(crate) fn merge(sessions: Vec<Session>) -> Vec<RowResult> {
    let mut rows: Vec<RowResult> = Vec::new();
    for row in sessions.into_iter().flat_map(|session| session.rows) {
        match rows.iter_mut().find(|known| (&known.bench, &known.row) == (&row.bench, &row.row)) {
            Some(known) => *known = row,
            None => rows.push(row),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(date: &str, seconds: f64) -> serde_json::Value {
        json!({
            "kmem_bench": FORM, "date": date, "machine": "m", "cpus": 2, "versions": "v", "settings": "s", "runs": 1, "scale": "full",
            "idle_rss_bytes": 1,
            "rows": [{"bench": "churn", "row": "1 k", "entries": [
                {"alloc": "kmem", "samples": [{"seconds": seconds, "peak_rss_bytes": 7, "of_tomorrow": 1}]}]}],
        })
    }

    #[test]
    fn what_was_saved_is_read_and_unknown_columns_are_left_alone() {
        let session = Session::read(run("2026-11-21", 0.5)).unwrap();
        let again = Session::read(serde_json::to_value(&session).unwrap()).unwrap();
        assert_eq!(again.facts, session.facts);
        assert_eq!(again.rows[0].entries[0].samples[0].seconds, 0.5);
    }

    #[test]
    fn a_row_that_was_run_again_replaces_the_earlier_one() {
        let rows = merge(vec![Session::read(run("1", 1.0)).unwrap(), Session::read(run("2", 2.0)).unwrap()]);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].entries[0].samples[0].seconds, 2.0);
    }

    #[test]
    fn foreign_and_broken_files_are_told_apart() {
        let complaint = |value| Session::read(value).unwrap_err().to_string();
        assert!(complaint(json!([{"bench": "churn", "seconds": 1.0}])).contains("not a run that `--save` has written"));
        assert!(complaint(json!({"kmem_bench": 99})).contains("form 99"));
        assert!(complaint(json!({"kmem_bench": FORM})).contains("missing field"));
        let mut empty = run("1", 1.0);
        empty["rows"] = json!([]);
        assert!(complaint(empty).contains("without rows"));
    }
}
