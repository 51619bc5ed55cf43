//! What is said of every run, whatever the suite: one object of JSON on a line, the same fields for all.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::machine;
use crate::rounds::Run;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Fields that only some suites have.
pub(crate) type Fields = Map<String, Value>;

/// One run of one side of a case. What does not apply, or is not known, is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) suite: String,
    /// What was run, such as `q5` or `1 M keys, zipf`.
    pub(crate) case: String,
    /// How it was run, such as `timely` or `engine`.
    pub(crate) side: String,
    pub(crate) round: usize,
    pub(crate) machine: String,
    pub(crate) versions: String,
    pub(crate) commit: String,
    /// Threads that did the work: one in a plain loop.
    pub(crate) workers: usize,
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    pub(crate) records_per_second: f64,
    pub(crate) records_per_second_and_core: f64,
    pub(crate) cpu_seconds: Option<f64>,
    /// Of the process, during the run: what it held before is in it.
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) rows: u64,
    /// Hexadecimal.
    pub(crate) digest: String,
    pub(crate) checkpoint_interval_seconds: Option<f64>,
    pub(crate) checkpoints: Option<u64>,
    /// The duration of each.
    pub(crate) checkpoint_seconds: Option<Vec<f64>>,
    /// All that were written, together.
    pub(crate) checkpoint_bytes: Option<u64>,
    /// The longest time that a seal kept a worker at one go.
    pub(crate) stall_seconds_max: Option<f64>,
    pub(crate) state_entries: Option<u64>,
    pub(crate) state_bytes: Option<u64>,
    #[serde(flatten)]
    pub(crate) more: Fields,
}

/// What is the same for all runs of a suite.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) suite: &'static str,
    pub(crate) machine: String,
    pub(crate) versions: String,
    pub(crate) commit: String,
}

impl Head {
    pub(crate) fn of(suite: &'static str) -> Head {
        let (machine, versions) = (machine::describe(), machine::versions());
        Head { suite, machine, versions, commit: machine::commit() }
    }

    /// The record of a run.
    pub(crate) fn record(&self, case: &str, side: &str, round: usize, run: &Run) -> Record {
        let (measured, summary) = (&run.measured, run.summary.as_ref());
        // The engine also counts what it would have written, had it a place for it.
        let written = summary.filter(|_| run.interval.is_some());
        Record {
            suite: self.suite.to_owned(),
            case: case.to_owned(),
            side: side.to_owned(),
            round,
            machine: self.machine.clone(),
            versions: self.versions.clone(),
            commit: self.commit.clone(),
            workers: run.threads,
            records: measured.records,
            seconds: measured.seconds,
            records_per_second: measured.rate(),
            records_per_second_and_core: measured.rate() / run.threads as f64,
            cpu_seconds: measured.cpu_seconds,
            peak_memory_bytes: measured.peak_memory,
            rows: run.totals.rows,
            digest: format!("{:016x}", run.totals.digest),
            checkpoint_interval_seconds: run.interval.as_ref().map(Duration::as_secs_f64),
            checkpoints: written.map(|summary| summary.checkpoints),
            checkpoint_seconds: written.map(|summary| {
                summary.checkpoint_durations.iter().map(Duration::as_secs_f64).collect()
            }),
            checkpoint_bytes: written.map(|summary| summary.checkpoint_bytes),
            stall_seconds_max: written.map(|summary| summary.stall_max.as_secs_f64()),
            state_entries: summary.map(|summary| summary.state.entries),
            state_bytes: summary.map(|summary| summary.state.bytes),
            more: run.more.clone(),
        }
    }
}

/// A file that records are appended to, if one was asked for.
#[derive(Debug)]
pub(crate) struct Journal(Option<File>);

impl Journal {
    /// Opens it before anything is measured: a wrong path is said at once.
    pub(crate) fn open(path: Option<&Path>) -> Result<Journal> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|error| format!("could not open {}: {error}", path.display()))
        };
        Ok(Journal(path.map(open).transpose()?))
    }

    pub(crate) fn append(&mut self, record: &Record) -> Result<()> {
        if let Some(file) = &mut self.0 {
            writeln!(file, "{}", serde_json::to_string(record)?)?;
        }
        Ok(())
    }
}
