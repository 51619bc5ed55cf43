//! One run of one side of a query.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use highwater::prelude::*;

use super::event::Event;
use super::queries::Logged;
use super::source::{Events, Share};
use super::text::Text;
use super::{Result, by_hand};
use crate::by_hand::discard;
use crate::digest::{Digest, Shared, Totals};
use crate::rounds::Run;
use crate::sides::Work;

/// What all runs have in common.
pub(crate) struct Setup {
    events: Events,
    workers: usize,
}

/// Rows of the side input of q13.
const SIDE_INPUT_ROWS: u64 = 10_000;

impl Setup {
    pub(crate) fn new(events: Events, workers: usize) -> Setup {
        Setup { events, workers }
    }

    fn work(&self) -> Work {
        Work { name: "nexmark", records: self.events.total(), workers: self.workers }
    }

    /// Runs a query on the engine; `note` sums its rows.
    pub(crate) fn engine<R: 'static>(
        &self,
        interval: Option<Duration>,
        query: impl for<'s> Fn(Stream<'s, Event>) -> Stream<'s, R> + Send + Sync + 'static,
        note: impl Fn(&mut Digest, R) + Copy + Send + Sync + 'static,
    ) -> Result<Run> {
        self.job(interval, move |events, mut digest| {
            query(events).for_each(move |row| note(&mut digest, row));
        })
    }

    /// As [`engine`](Self::engine), of a query that writes rows to a folder.
    pub(crate) fn engine_to_files(
        &self,
        interval: Option<Duration>,
        query: for<'s> fn(Stream<'s, Event>, PathBuf),
    ) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        let run = self.job(interval, move |events, _| query(events, path.clone()))?;
        Ok(Run { totals: totals_of_files(folder.path())?, ..run })
    }

    fn job(
        &self,
        interval: Option<Duration>,
        build: impl for<'s> Fn(Stream<'s, Event>, Digest) + Send + Sync + 'static,
    ) -> Result<Run> {
        let events = self.events.clone();
        self.work().engine(interval, move |flow, digest| {
            let by_time = Watermarks::ascending(Event::date_time);
            build(flow.source("events", events.clone().with_watermarks(by_time)), digest);
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
        self.timely(move |events, digest| discard(query(events), digest, note))
    }

    /// As [`by_hand`](Self::by_hand), of a dataflow that writes rows to a folder.
    pub(crate) fn by_hand_to_files(
        &self,
        query: for<'s> fn(by_hand::Stream<'s, Event>, PathBuf),
    ) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        let run = self.timely(move |events, _| query(events, path.clone()))?;
        Ok(Run { totals: totals_of_files(folder.path())?, ..run })
    }

    fn timely(
        &self,
        build: impl for<'s> Fn(by_hand::Stream<'s, Event>, Digest) + Send + Sync + 'static,
    ) -> Result<Run> {
        let events = self.events.clone();
        self.work().timely(move |scope, digest| {
            let share = Share { index: scope.index() as u64, of: scope.peers() as u64 };
            build(by_hand::read(scope, events.clone(), share), digest);
        })
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
