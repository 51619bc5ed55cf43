//! One run of one side of a query.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use highwater::Summary;
use highwater::prelude::*;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use super::digest::{Digest, Shared, Totals};
use super::event::Event;
use super::queries::Logged;
use super::source::{Events, Share};
use super::text::Text;
use super::{Result, by_hand};
use crate::rounds::Measured;

/// What all runs have in common.
pub(crate) struct Setup {
    events: Events,
    workers: usize,
    checkpoints: Option<Duration>,
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) measured: Measured,
    pub(crate) totals: Totals,
    /// What the engine says, if it was the engine.
    pub(crate) summary: Option<Summary>,
}

/// Rows of the side input of q13.
const SIDE_INPUT_ROWS: u64 = 10_000;

impl Setup {
    pub(crate) fn new(events: Events, workers: usize, checkpoints: Option<Duration>) -> Setup {
        Setup { events, workers, checkpoints }
    }

    /// Runs a query on the engine; `note` sums its rows.
    pub(crate) fn engine<R: 'static>(
        &self,
        has_checkpoints: bool,
        query: impl for<'s> Fn(Stream<'s, Event>) -> Stream<'s, R> + Send + Sync + 'static,
        note: impl Fn(&mut Digest, R) + Copy + Send + Sync + 'static,
    ) -> Result<Run> {
        let totals = Arc::new(Shared::default());
        let summed = Arc::clone(&totals);
        let (measured, summary) = self.job(has_checkpoints, move |events| {
            let mut digest = Digest::new(Arc::clone(&summed));
            query(events).for_each(move |row| note(&mut digest, row));
        })?;
        Ok(Run { measured, totals: totals.totals(), summary: Some(summary) })
    }

    /// As [`engine`](Self::engine), of a query that writes rows to a folder.
    pub(crate) fn engine_to_files(
        &self,
        has_checkpoints: bool,
        query: for<'s> fn(Stream<'s, Event>, PathBuf),
    ) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        let (measured, summary) =
            self.job(has_checkpoints, move |events| query(events, path.clone()))?;
        Ok(Run { measured, totals: totals_of_files(folder.path())?, summary: Some(summary) })
    }

    fn job(
        &self,
        has_checkpoints: bool,
        build: impl for<'s> Fn(Stream<'s, Event>) + Send + Sync + 'static,
    ) -> Result<(Measured, Summary)> {
        let folder = tempfile::tempdir()?;
        let mut job = Job::new("nexmark").workers(self.workers).quiet();
        if let Some(interval) = self.checkpoints {
            job = job.checkpoint_interval(interval);
        }
        if has_checkpoints {
            job = job.checkpoint_dir(folder.path().to_string_lossy());
        }
        let events = self.events.clone();
        Measured::of(self.events.total(), || {
            let summary = job.execute(move |flow| {
                let by_time = Watermarks::ascending(Event::date_time);
                build(flow.source("events", events.clone().with_watermarks(by_time)));
            })?;
            match summary.late.iter().find(|(_, late)| late.dropped > 0) {
                Some((uid, late)) => {
                    Err(format!("{late} at {uid:?}, though all are in order").into())
                }
                None => Ok(summary),
            }
        })
    }

    /// Runs a dataflow of timely's; `note` sums its rows.
    pub(crate) fn by_hand<R: 'static>(
        &self,
        query: impl for<'s> Fn(by_hand::Stream<'s, Event>) -> by_hand::Stream<'s, R>
        + Send
        + Sync
        + 'static,
        note: impl Fn(&mut Digest, R) + Copy + Send + Sync + 'static,
    ) -> Result<Run> {
        let totals = Arc::new(Shared::default());
        let summed = Arc::clone(&totals);
        let measured = self.timely(move |events| {
            let mut digest = Digest::new(Arc::clone(&summed));
            query(events).sink(Pipeline, "Digest", move |(input, _)| {
                input.for_each(|_, batch| {
                    batch.drain(..).for_each(|row| note(&mut digest, row));
                });
            });
        })?;
        Ok(Run { measured, totals: totals.totals(), summary: None })
    }

    /// As [`by_hand`](Self::by_hand), of a dataflow that writes rows to a folder.
    pub(crate) fn by_hand_to_files(
        &self,
        query: for<'s> fn(by_hand::Stream<'s, Event>, PathBuf),
    ) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        let measured = self.timely(move |events| query(events, path.clone()))?;
        Ok(Run { measured, totals: totals_of_files(folder.path())?, summary: None })
    }

    fn timely(
        &self,
        build: impl for<'s> Fn(by_hand::Stream<'s, Event>) + Send + Sync + 'static,
    ) -> Result<Measured> {
        let config = match self.workers {
            1 => timely::Config::thread(),
            workers => timely::Config::process(workers),
        };
        let events = self.events.clone();
        let run = || -> Result<()> {
            let guards = timely::execute(config, move |worker| {
                let share = Share { index: worker.index() as u64, of: worker.peers() as u64 };
                worker.dataflow::<u64, _, _>(|scope| {
                    build(by_hand::read(scope, events.clone(), share));
                });
            })?;
            for outcome in guards.join() {
                outcome?;
            }
            Ok(())
        };
        Measured::of(self.events.total(), run).map(|(measured, ())| measured)
    }
}

/// The side input of q13: a file that is written before the clock starts, and read by the program.
pub(crate) struct SideInput(tempfile::NamedTempFile);

impl SideInput {
    pub(crate) fn write() -> Result<SideInput> {
        let file = tempfile::NamedTempFile::new()?;
        let mut rows = csv::Writer::from_path(file.path())?;
        for key in 0..SIDE_INPUT_ROWS {
            rows.serialize((key, key))?;
        }
        rows.flush()?;
        Ok(SideInput(file))
    }

    /// What is in the file, by key.
    pub(crate) fn read(&self) -> Result<Arc<HashMap<u64, Text>>> {
        let mut rows = csv::ReaderBuilder::new().has_headers(false).from_path(self.0.path())?;
        let rows = rows.deserialize().collect::<std::result::Result<_, _>>()?;
        Ok(Arc::new(rows))
    }
}

/// Reads what was written.
fn totals_of_files(folder: &Path) -> Result<Totals> {
    let totals = Arc::new(Shared::default());
    let mut digest = Digest::new(Arc::clone(&totals));
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes()[0] == b'.');
        if is_hidden || path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let mut rows = csv::ReaderBuilder::new().has_headers(false).from_path(&path)?;
        for row in rows.deserialize::<Logged>() {
            digest.row(row?);
        }
    }
    drop(digest);
    Ok(totals.totals())
}
