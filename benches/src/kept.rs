//! How much state sessions and interval joins keep, beside what the watermark that they have acted on
//! still needs.
//!
//! A checkpoint says how many entries an operator holds, which records its source had yielded by then,
//! and the watermark that all workers had acted on. What is needed follows from the last two alone, by
//! the definition of sessions and joins: it is found out here record by record, not by the engine.
//! How far the watermark is behind the records is another matter, that of the source: splits that
//! are read at full speed run apart, unless they are aligned.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use highwater::checkpoint::metadata::{CheckpointMetadata, OperatorStateMetadata};
use highwater::prelude::*;
use highwater::window::Session;
use highwater_connectors::generator::GeneratorSource;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A record of a key, at a time in milliseconds.
type Record = (u64, i64);

/// After how long without a record a session ends, and within what two records of a join meet.
const REACH_MS: i64 = 30_000;

const SPLITS: u64 = 8;

/// Records of a run.
const RECORDS: u64 = 10_000_000;

pub(crate) fn run(workers: usize) -> Result<()> {
    println!("entries held at a checkpoint, and what the watermark acted on by then needs");
    for drift in [None, Some(Duration::from_secs(1))] {
        let is_aligned = drift.map_or("not aligned", |_| "aligned within 1 s");
        report(&format!("sessions, splits {is_aligned}"), &sessions(workers, drift)?)?;
        report(&format!("interval join, splits {is_aligned}"), &joins(workers, drift)?)?;
    }
    Ok(())
}

fn by_time(drift: Option<Duration>) -> Watermarks<Record> {
    let watermarks = Watermarks::bounded(Duration::from_secs(1), |(_, at): &Record| EventTime(*at));
    match drift {
        Some(drift) => watermarks.aligned_within(drift),
        None => watermarks,
    }
}

fn job(name: &str, workers: usize, folder: &Path) -> Job {
    let job = Job::new(name).workers(workers).checkpoint_dir(folder.to_string_lossy());
    job.checkpoint_interval(Duration::from_millis(50)).retain(usize::MAX).quiet()
}

/// Entries that were held, and that were needed.
type Kept = (u64, u64);

/// In the order of time: of each session, of which one begins each millisecond, the n-th record comes
/// n seconds after its first.
fn of_session(i: u64) -> Record {
    let (at, nth) = (i / 10, i % 10);
    (at.wrapping_sub(nth * 1000), at as i64)
}

fn sessions(workers: usize, drift: Option<Duration>) -> Result<Vec<Kept>> {
    let folder = tempfile::tempdir()?;
    job("sessions", workers, folder.path()).execute(move |flow| {
        let records = GeneratorSource::new(RECORDS, of_session).splits(SPLITS);
        flow.source("records", records.with_watermarks(by_time(drift)))
            .keyed()
            .window(Session::gap(Duration::from_millis(REACH_MS as u64)), |at| EventTime(*at))
            .count("sessions")
            .for_each(|_| {});
    })?;
    let needed = |read: &dyn Fn(u64) -> bool, (first, end): (u64, u64), watermark: i64| {
        // The sessions whose last record so far is less than the gap behind.
        let read = (first..end).filter(|i| read(*i)).map(of_session);
        let last: HashMap<_, _> = read.collect();
        last.values().filter(|at| **at + REACH_MS > watermark).count() as u64
    };
    kept(&folder.path().join("sessions"), "sessions", 10, needed)
}

/// Two records a millisecond, one on each side, of keys that meet.
fn joins(workers: usize, drift: Option<Duration>) -> Result<Vec<Kept>> {
    let folder = tempfile::tempdir()?;
    job("joins", workers, folder.path()).execute(move |flow| {
        let records = GeneratorSource::new(RECORDS, |i| (i, (i / 2) as i64)).splits(SPLITS);
        let records = flow.source("records", records.with_watermarks(by_time(drift)));
        let lefts = records.clone().filter(|(i, _)| i % 2 == 0).map(|(i, at)| (i / 2, at));
        let rights = records.filter(|(i, _)| i % 2 == 1).map(|(i, at)| (i / 2, at));
        lefts
            .keyed()
            .connect(rights.keyed())
            .event_times(|at| EventTime(*at), |at| EventTime(*at))
            .interval_join("join", 0, REACH_MS)
            .inner(|key, _, _| *key)
            .for_each(|_| {});
    })?;
    let needed = |read: &dyn Fn(u64) -> bool, (first, end): (u64, u64), watermark: i64| {
        // A left record waits for right ones that are later, a right one for none that is.
        let waits =
            |i: &u64| (i / 2) as i64 + if i.is_multiple_of(2) { REACH_MS } else { 0 } >= watermark;
        let waiting: Vec<u64> = (first..end).filter(|i| read(*i) && waits(i)).collect();
        // And a timer for each key.
        let keys: HashSet<u64> = waiting.iter().map(|i| i / 2).collect();
        (waiting.len() + keys.len()) as u64
    };
    kept(&folder.path().join("joins"), "join", 2, needed)
}

/// What the state of operator `uid` was at each checkpoint of a job while records came, `per_ms` of
/// them each millisecond of event time.
fn kept(
    job: &Path,
    uid: &str,
    per_ms: u64,
    needed: impl Fn(&dyn Fn(u64) -> bool, (u64, u64), i64) -> u64,
) -> Result<Vec<Kept>> {
    let (mut all, of_uid) = (Vec::new(), format!("{uid}/"));
    for checkpoint in std::fs::read_dir(job.join("checkpoints"))? {
        let path = checkpoint?.path().join("metadata.json");
        let metadata =
            CheckpointMetadata::from_bytes(&path.to_string_lossy(), &std::fs::read(&path)?)?;
        let states = || metadata.operators.iter().filter(|state| state.uid.starts_with(&of_uid));
        let watermark = states().filter_map(|state| state.watermark).min();
        // Before the first record, and at the end, nothing can be said.
        let Some(EventTime(watermark)) = watermark.filter(|at| at.0 > 2 * REACH_MS) else {
            continue;
        };
        if metadata.input_ended {
            continue;
        }
        let held = states().filter_map(|state| state.entries).sum();
        let records = metadata.operators.iter().find(|state| state.uid == "records");
        let read = records_read(records.ok_or("the checkpoint does not know the source")?)?;
        // Who was read that long ago is not needed by anybody.
        let first = (watermark - 2 * REACH_MS) as u64 * per_ms;
        let end = read.iter().zip(0..).map(|(records, split)| records * SPLITS + split).max();
        let is_read = |i: u64| i / SPLITS < read[(i % SPLITS) as usize];
        all.push((held, needed(&is_read, (first, end.unwrap_or(0)), watermark)));
    }
    Ok(all)
}

/// How many records of each split had been read.
fn records_read(source: &OperatorStateMetadata) -> Result<Vec<u64>> {
    let mut read = vec![0; SPLITS as usize];
    for split in &source.splits {
        let index = split.split["index"].as_u64().ok_or("a split without a number")?;
        let offset = split.offset.as_ref().and_then(|offset| offset["records"].as_u64());
        read[index as usize] = offset.unwrap_or(0);
    }
    Ok(read)
}

fn report(what: &str, kept: &[Kept]) -> Result<()> {
    let (most, needed) = *kept.iter().max().ok_or("no checkpoint was made while records came")?;
    let ratios: Vec<f64> =
        kept.iter().map(|(held, needed)| *held as f64 / *needed as f64).collect();
    println!(
        "{what}: at most {most}, where {needed} are needed; held / needed {} at {} checkpoints",
        crate::report::spread(&ratios, 3),
        kept.len()
    );
    Ok(())
}
