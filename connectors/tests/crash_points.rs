//! The process aborts at each request to the store, just before it takes effect and just after;
//! each time the job recovers with another number of workers, and its output is exact.
//!
//! A small job runs in a child process: this test, executed again. Its input waits for checkpoints,
//! so that each run has the same number of them, with folds and deletes between. The child aborts
//! at call *k*, for every *k* from the first request (the probe) on, until a run comes to its end
//! with calls to spare. Some children are aborted once more, while they recover. Then this process
//! finishes the job on a healthy store and reads the part files: each key must have each number
//! from 1 to its count once. What was complete on disk when the child died must not be lost: the
//! recovery starts from that checkpoint or a later one.
//!
//! All calls take ten to forty seconds. `CRASH_POINTS_EVERY=3` tries every third on each side, other
//! ones before than after, which is enough while something else is worked on:
//!
//! ```text
//! CRASH_POINTS_EVERY=3 cargo test -p highwater-connectors --test crash_points -- --nocapture
//! ```

#![expect(clippy::disallowed_methods, reason = "measures time")]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic is the report, the figures are for people

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use highwater::checkpoint::run::Run;
use highwater::checkpoint::store::Location;
use highwater::checkpoint::store::faulty::{Faults, FaultyStore, Side};
use highwater::prelude::*;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use highwater::testing::VecSource;
use highwater::{BoxError, Summary};
use highwater_connectors::files::FileSink;

/// Records of a split that may be read between two checkpoints.
const CHUNK: u64 = 60;

/// Records of the splits: the longest takes twelve checkpoints, so that what is folded in the middle
/// is deleted before the end.
const SPLITS: [u64; 3] = [720, 300, 170];

fn input() -> Vec<Vec<u64>> {
    let key = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 37;
    (0..).zip(SPLITS).map(|(split, n)| (0..n).map(|n| key(n * 3 + split)).collect()).collect()
}

/// The run, once it exists.
type Running = Arc<OnceLock<Arc<Run>>>;

/// Yields a chunk of each split per checkpoint.
struct Gated {
    inner: VecSource<u64>,
    running: Running,
}

struct GatedReader {
    inner: <VecSource<u64> as Source>::Reader,
    running: Running,
    /// Records read in this run.
    read: u64,
}

impl Source for Gated {
    type Item = u64;
    type Split = <VecSource<u64> as Source>::Split;
    type Offset = <VecSource<u64> as Source>::Offset;
    type Reader = GatedReader;

    fn discover(
        &self,
        known: &[NamedSplit<Self::Split>],
    ) -> Result<Vec<NamedSplit<Self::Split>>, BoxError> {
        self.inner.discover(known)
    }

    fn open(&self, split: &Self::Split, at: Option<Self::Offset>) -> Result<GatedReader, BoxError> {
        let (inner, running) = (self.inner.open(split, at)?, Arc::clone(&self.running));
        Ok(GatedReader { inner, running, read: 0 })
    }
}

impl SplitReader for GatedReader {
    type Item = u64;
    type Offset = <VecSource<u64> as Source>::Offset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<u64>) -> Result<ReadStatus, BoxError> {
        let completed = self.running.get().map_or(0, |run| run.status().completed());
        let left = (CHUNK * (completed + 1)).saturating_sub(self.read) as usize;
        if left == 0 {
            return Ok(ReadStatus::Idle { retry_after: Duration::from_millis(1) });
        }
        let before = out.len();
        let limit = ReadLimit { records: limit.records.min(left), ..limit };
        let status = self.inner.read(limit, out)?;
        self.read += (out.len() - before) as u64;
        Ok(status)
    }

    fn offset(&self) -> Self::Offset {
        self.inner.offset()
    }
}

fn count(
    directory: &Path,
    location: Location,
    workers: usize,
) -> (highwater::Result<Summary>, Running) {
    let (output, running) = (directory.join("output"), Running::default());
    let to_run = Arc::clone(&running);
    let outcome = Job::new("points")
        .quiet()
        .workers(workers)
        .retain(2)
        .fold_bytes_min(0)
        .checkpoint_store(location)
        .checkpoint_interval(Duration::from_millis(1))
        .tolerable_failed_checkpoints(u32::MAX)
        .restart_strategy(highwater::RestartStrategy::None)
        .execute(move |flow| {
            let _ = to_run.set(Arc::clone(flow.checkpoints().run()));
            let source = Gated { inner: VecSource::splits(input()), running: Arc::clone(&to_run) };
            flow.source("numbers", source)
                .key_by(|key| *key)
                .count("count")
                .sink("counts", FileSink::csv(&output));
        });
    (outcome, running)
}

fn store(directory: &Path) -> Location {
    Location::parse(directory.join("checkpoints").to_str().unwrap()).unwrap()
}

/// The job that aborts, in a process of its own.
#[test]
fn child() {
    let Ok(at) = std::env::var("CRASH_POINTS_AT") else { return };
    let side = if std::env::var("CRASH_POINTS_SIDE").unwrap() == "Before" {
        Side::Before
    } else {
        Side::After
    };
    let directory = PathBuf::from(std::env::var("CRASH_POINTS_DIR").unwrap());
    let workers = std::env::var("CRASH_POINTS_WORKERS").unwrap().parse().unwrap();
    let faults = Faults::default().crash_at(at.parse().unwrap(), side, || std::process::abort());
    let location = FaultyStore::wrap(store(&directory), faults.clone());
    count(&directory, location, workers).0.unwrap();
    for call in faults.log() {
        println!("call {} {} {}", call.number, call.operation, call.path);
    }
}

/// Runs the child; whether it came to its end, and what calls it made then.
fn aborts(directory: &Path, at: u64, side: Side, workers: usize) -> Option<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("CRASH_POINTS_AT", at.to_string())
        .env("CRASH_POINTS_SIDE", format!("{side:?}"))
        .env("CRASH_POINTS_DIR", directory)
        .env("CRASH_POINTS_WORKERS", workers.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, wrong) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    // Aborted, and not failed: no exit code.
    let died = output.status.code().is_none();
    assert!(died || output.status.success(), "call {at}, {side:?}: {said} {wrong}");
    (!died).then_some(said)
}

/// Newest checkpoint on disk.
fn newest(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory.join("checkpoints/points/checkpoints")) else {
        return 0;
    };
    let whole = entries.map(Result::unwrap).filter(|e| e.path().join("metadata.json").exists());
    whole.map(|e| e.file_name().to_str().unwrap().parse().unwrap()).max().unwrap_or(0)
}

fn check(directory: &Path, case: &str) {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    input().iter().flatten().for_each(|key| *counts.entry(*key).or_default() += 1);
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory.join("output")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!name.ends_with(".inprogress"), "{case}: {name} is left over");
        if !name.starts_with("part-") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let (key, n) = line.split_once(',').unwrap_or_else(|| panic!("{case}: {line:?}"));
            found.entry(key.parse().unwrap()).or_default().push(n.parse().unwrap());
        }
    }
    for (key, count) in counts {
        let mut numbers = found.remove(&key).unwrap_or_default();
        numbers.sort_unstable();
        let right = numbers.iter().copied().eq(1..=count);
        assert!(right, "{case}: key {key} of {count} has {numbers:?}");
    }
    assert!(found.is_empty(), "{case}: {found:?}");
}

/// Crashes at call `at`; false if the job came to its end before that.
fn point(at: u64, side: Side, second: &AtomicU64, operations: &Mutex<String>) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (workers, after) = (1 + at as usize % 3, 1 + (at as usize + 1) % 4);
    let mut case = format!("call {at}, {side:?}, from {workers} to {after} workers");
    if let Some(calls) = aborts(directory, at, side, workers) {
        check(directory, &case);
        *operations.lock().unwrap() = calls;
        return false;
    }
    let mut before = newest(directory);
    if at.is_multiple_of(4) {
        // Once more, at some call of the recovery.
        let again = 1 + at * 7 % 31;
        case = format!("{case}, then call {again}");
        if aborts(directory, again, side, after).is_none() {
            second.fetch_add(1, Ordering::Relaxed);
        }
        let now = newest(directory);
        assert!(now >= before, "{case}: {now} after {before}");
        before = now;
    }
    let (outcome, running) = count(directory, store(directory), after);
    outcome.unwrap_or_else(|error| panic!("{case}: {error:?}"));
    let restored = running.get().unwrap().restored().map_or(0, |id| id.0);
    assert!(restored >= before, "{case}: {before} was complete, {restored} was restored");
    check(directory, &case);
    true
}

#[test]
fn the_output_is_exact_whatever_request_is_the_last() {
    let every: u64 = std::env::var("CRASH_POINTS_EVERY").map_or(1, |every| every.parse().unwrap());
    let started = Instant::now();
    let (second, points, operations) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
    let next = AtomicU64::new(0);
    // A run may need a few calls more or less than another: the end is where several are over.
    let over = AtomicU64::new(0);
    let work = || {
        while over.load(Ordering::Relaxed) < 3 {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (side, offset) = match number % 2 {
                0 => (Side::Before, 0),
                _ => (Side::After, every / 2),
            };
            let at = 1 + number / 2 * every + offset;
            if point(at, side, &second, &operations) {
                points.fetch_add(1, Ordering::Relaxed);
            } else {
                over.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let operations = operations.into_inner().unwrap();
    println!(
        "crash points: {} crashes, {} of them followed by a second, every {every}th call and side, \
         {:.1} s",
        points.load(Ordering::Relaxed),
        second.load(Ordering::Relaxed),
        started.elapsed().as_secs_f64()
    );
    for part in ["probes/", "create points/generations/", "create points/checkpoints/", "delta.seg"]
    {
        assert!(operations.contains(part), "no {part} in {operations}");
    }
    for part in ["-fold-", "delete points/checkpoints/", "delete points/segments/"] {
        assert!(operations.contains(part), "no {part} in {operations}");
    }
    assert!(points.into_inner() * every >= 60, "too few calls to be the whole life of a job");
}
