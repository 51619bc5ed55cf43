//! The conformance tests pass a right source and a right sink, and catch each planted bug.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::{SinkTarget, check_sink, check_source};
use crate::sink::{Prepare, Sink, SinkRun, SinkWriter};
use crate::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use crate::{BoxError, Epoch};

/// What a failed check says; none if it passes.
fn verdict(check: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(check)).err()?;
    let said = panic.downcast_ref::<String>().cloned();
    Some(said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap())
}

/// What is wrong with a source or a sink.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    LosesARecordAtReopen,
    RepeatsARecordAtReopen,
    OffsetIsAheadAfterSmallReads,
    IdsRepeat,
    ReturnsKnownSplits,
    IgnoresTheLimit,
    VisibleWhenWritten,
    VisibleWhenPrepared,
    PreparedIsLostAtDeath,
    CommitsTwice,
    FailsAtSecondCommit,
    AbortTakesCommitted,
    AbortLeavesPrepared,
    EpochsMix,
}

/// The numbers below 100, in two splits.
struct Numbers(Bug);

struct NumbersReader {
    at: u64,
    bug: Bug,
    ahead: u64,
}

impl Source for Numbers {
    type Item = u64;
    type Split = u64;
    type Offset = u64;
    type Reader = NumbersReader;

    fn discover(&self, known: &[NamedSplit<u64>]) -> Result<Vec<NamedSplit<u64>>, BoxError> {
        let known = if self.0 == Bug::ReturnsKnownSplits { 0 } else { known.len() as u64 };
        let id =
            |split: u64| if self.0 == Bug::IdsRepeat { "same".into() } else { format!("{split}") };
        Ok((known..2).map(|split| NamedSplit { id: id(split), split }).collect())
    }

    fn open(&self, _split: &u64, offset: Option<u64>) -> Result<NumbersReader, BoxError> {
        let at = match (self.0, offset) {
            (Bug::LosesARecordAtReopen, Some(at)) => at + 1,
            (Bug::RepeatsARecordAtReopen, Some(at)) => at.saturating_sub(1),
            (_, offset) => offset.unwrap_or(0),
        };
        Ok(NumbersReader { at, bug: self.0, ahead: 0 })
    }
}

impl SplitReader for NumbersReader {
    type Item = u64;
    type Offset = u64;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<u64>) -> Result<ReadStatus, BoxError> {
        let limit = if self.bug == Bug::IgnoresTheLimit { 7 } else { limit.records as u64 };
        let end = self.at.saturating_add(limit).min(100);
        out.extend(self.at..end);
        self.at = self.at.max(end);
        self.ahead = u64::from(limit < 5 && self.at < 100);
        Ok(if self.at >= 100 { ReadStatus::Finished } else { ReadStatus::Ready })
    }

    fn offset(&self) -> u64 {
        match self.bug {
            Bug::OffsetIsAheadAfterSmallReads => self.at + self.ahead,
            _ => self.at,
        }
    }
}

#[test]
fn check_source_catches_planted_bugs() {
    let said = |bug| verdict(|| drop(check_source(|| Numbers(bug), 7)));
    assert_eq!(said(Bug::None), None);
    for (bug, rule) in [
        (Bug::LosesARecordAtReopen, "S1"),
        (Bug::RepeatsARecordAtReopen, "S1"),
        (Bug::OffsetIsAheadAfterSmallReads, "S1"),
        (Bug::IdsRepeat, "S2"),
        (Bug::ReturnsKnownSplits, "all splits are known"),
        (Bug::IgnoresTheLimit, "ReadLimit"),
    ] {
        let said = said(bug).unwrap_or_else(|| panic!("{bug:?} was not caught"));
        assert!(said.contains(rule), "{bug:?} was taken for: {said}");
    }
}

/// A disk, of sorts: it outlives the sinks.
#[derive(Default)]
struct Disk {
    visible: Vec<u64>,
    prepared: Vec<(String, Vec<u64>)>,
    committed: BTreeSet<String>,
}

#[derive(Clone)]
struct DiskSink {
    disk: Arc<Mutex<Disk>>,
    bug: Bug,
}

struct DiskWriter {
    sink: DiskSink,
    name: String,
    rows: Vec<u64>,
}

impl Sink<u64> for DiskSink {
    type Committable = String;
    type Writer = DiskWriter;

    fn begin(&self, _run: &SinkRun) -> Result<(), BoxError> {
        if self.bug == Bug::PreparedIsLostAtDeath {
            self.disk.lock().unwrap().prepared.clear();
        }
        Ok(())
    }

    fn commit(&self, _run: &SinkRun, names: Vec<String>) -> Result<(), BoxError> {
        let mut disk = self.disk.lock().unwrap();
        for name in names {
            let new = disk.committed.insert(name.clone());
            match disk.prepared.iter().find(|(prepared, _)| *prepared == name) {
                Some((_, rows)) if new || self.bug == Bug::CommitsTwice => {
                    let rows = rows.clone();
                    if self.bug != Bug::VisibleWhenPrepared {
                        disk.visible.extend(rows);
                    }
                }
                _ if !new && self.bug == Bug::FailsAtSecondCommit => {
                    return Err("committed already".into());
                }
                None if new => return Err(format!("{name} is lost").into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn abort(&self, run: &SinkRun) -> Result<(), BoxError> {
        let mut disk = self.disk.lock().unwrap();
        match self.bug {
            Bug::AbortTakesCommitted if run.generation > 1 => disk.visible.clear(),
            Bug::AbortLeavesPrepared => {
                let Disk { visible, prepared, committed } = &mut *disk;
                prepared.retain(|(name, rows)| {
                    let keep = committed.contains(name);
                    visible.extend(rows.iter().filter(|_| !keep));
                    keep
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&self, run: &SinkRun, worker: usize) -> Result<DiskWriter, BoxError> {
        let name = format!("{}-{worker}", run.generation);
        Ok(DiskWriter { sink: self.clone(), name, rows: Vec::new() })
    }
}

impl SinkWriter<u64> for DiskWriter {
    type Committable = String;

    fn write(&mut self, batch: &mut Vec<u64>) -> Result<(), BoxError> {
        if self.sink.bug == Bug::VisibleWhenWritten {
            self.sink.disk.lock().unwrap().visible.append(batch);
        }
        self.rows.append(batch);
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepare<String>, BoxError> {
        let mut rows = std::mem::take(&mut self.rows);
        if self.sink.bug == Bug::EpochsMix && epoch == Epoch(1) {
            self.rows.extend(rows.pop());
        }
        let (disk, bug) = (Arc::clone(&self.sink.disk), self.sink.bug);
        let name = format!("{epoch}-{}", self.name);
        Ok(Box::new(move || {
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let mut disk = disk.lock().unwrap();
            if bug == Bug::VisibleWhenPrepared {
                disk.visible.extend(&rows);
            }
            disk.prepared.push((name.clone(), rows));
            Ok(vec![name])
        }))
    }
}

#[test]
fn check_sink_catches_planted_bugs() {
    let target = |bug| {
        let sink = DiskSink { disk: Arc::default(), bug };
        let disk = Arc::clone(&sink.disk);
        SinkTarget::new(move || sink.clone(), move || disk.lock().unwrap().visible.clone())
    };
    let said = |bug| verdict(|| check_sink(|| target(bug), |n| n));
    assert_eq!(said(Bug::None), None);
    for (bug, rule) in [
        (Bug::VisibleWhenWritten, "K1"),
        (Bug::VisibleWhenPrepared, "K1"),
        (Bug::PreparedIsLostAtDeath, "lost"),
        (Bug::CommitsTwice, "K3"),
        (Bug::FailsAtSecondCommit, "committed already"),
        (Bug::AbortTakesCommitted, "K2"),
        (Bug::AbortLeavesPrepared, "K4"),
        (Bug::EpochsMix, "what was committed is not what is visible"),
    ] {
        let said = said(bug).unwrap_or_else(|| panic!("{bug:?} was not caught"));
        assert!(said.contains(rule), "{bug:?} was taken for: {said}");
    }
}
