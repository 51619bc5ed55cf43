//! Every knob of a job does what it says: each test is named for its knob, which is a flag or a method
//! of `Job`, and fails when the knob is ignored.
//!
//! Jobs in this process with checkpoints in memory. Their input has no end: a test stops them when
//! it has seen enough, or fails after a long while. Times are compared with lower bounds, as
//! the metadata says them, for the machine may be slow; values are chosen so that the default is
//! beyond the bound. That each flag sets its knob is tested beside `Job::options`.

#![expect(clippy::disallowed_methods, reason = "fails what takes too long")]

mod checkpoints;
mod restarts;
mod running;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater::checkpoint::metadata::{CheckpointMetadata, Origin};
use highwater::checkpoint::run::Run;
use highwater::checkpoint::store::{BlobStore, Location, layout};
use highwater::prelude::*;
use highwater::sink::{Prepare, Sink, SinkRun, SinkWriter};
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use highwater::{BoxError, Epoch, RestartStrategy, Summary};

use super::waiting::{PATIENCE, block_on};

const JOB: &str = "knobs";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Numbers without end, a few every millisecond; it fails at `fails_at`.
#[derive(Clone)]
struct Endless {
    splits: u64,
    fails_at: u64,
}

const ENDLESS: Endless = Endless { splits: 1, fails_at: u64::MAX };

struct EndlessReader {
    next: u64,
    fails_at: u64,
}

impl Source for Endless {
    type Item = u64;
    type Split = u64;
    type Offset = u64;
    type Reader = EndlessReader;

    fn discover(&self, known: &[NamedSplit<u64>]) -> Result<Vec<NamedSplit<u64>>, BoxError> {
        let new =
            (known.len() as u64..self.splits).map(|n| NamedSplit { id: n.to_string(), split: n });
        Ok(new.collect())
    }

    fn open(&self, _: &u64, at: Option<u64>) -> Result<EndlessReader, BoxError> {
        Ok(EndlessReader { next: at.unwrap_or(0), fails_at: self.fails_at })
    }
}

impl SplitReader for EndlessReader {
    type Item = u64;
    type Offset = u64;

    fn read(&mut self, _: ReadLimit, out: &mut Vec<u64>) -> Result<ReadStatus, BoxError> {
        if self.next >= self.fails_at {
            return Err("fails on purpose".into());
        }
        out.push(self.next);
        self.next += 1;
        Ok(ReadStatus::Idle { retry_after: ms(1) })
    }

    fn offset(&self) -> u64 {
        self.next
    }
}

type Hook = Arc<dyn Fn(Epoch) + Send + Sync>;

/// Writes nowhere, and calls a hook when an epoch's output is being made durable.
#[derive(Clone)]
struct Hooked(Hook);

impl Sink<(u64, u64)> for Hooked {
    type Committable = ();
    type Writer = Hooked;

    fn begin(&self, _: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&self, _: &SinkRun, _: Vec<()>) -> Result<(), BoxError> {
        Ok(())
    }

    fn abort(&self, _: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, _: &SinkRun, _: usize) -> Result<Hooked, BoxError> {
        Ok(self.clone())
    }
}

impl SinkWriter<(u64, u64)> for Hooked {
    type Committable = ();

    fn write(&mut self, batch: &mut Vec<(u64, u64)>) -> Result<(), BoxError> {
        batch.clear();
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepare<()>, BoxError> {
        let hook = Arc::clone(&self.0);
        Ok(Box::new(move || {
            hook(epoch);
            Ok(vec![()])
        }))
    }
}

fn job(store: &Location) -> Job {
    Job::new(JOB)
        .quiet()
        .checkpoint_store(store.clone())
        .checkpoint_interval(ms(2))
        .restart_strategy(RestartStrategy::None)
}

type Running = Arc<Mutex<Option<Arc<Run>>>>;

/// Counts an endless input into a sink with `hook`, and stops when `enough`.
fn run_with(
    job: Job,
    hook: impl Fn(&Run, Epoch) + Send + Sync + 'static,
    enough: impl Fn(&Run) -> bool + Clone + Send + Sync + 'static,
) -> highwater::Result<Summary> {
    let running = Running::default();
    let of_hook = Arc::clone(&running);
    let sink = Hooked(Arc::new(move |epoch| {
        let run = Arc::clone(of_hook.lock().unwrap().as_ref().unwrap());
        hook(&run, epoch);
    }));
    let started = Instant::now();
    job.execute(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        *running.lock().unwrap() = Some(Arc::clone(&run));
        let enough = enough.clone();
        let numbers = flow.source("numbers", ENDLESS).inspect(move |_| {
            assert!(started.elapsed() < PATIENCE, "waited in vain: {:?}", run.status());
            if enough(&run) {
                run.control().request_stop();
            }
        });
        numbers.key_by(|n| n % 7).count("count").sink("nowhere", sink.clone());
    })
}

fn run(job: Job, enough: impl Fn(&Run) -> bool + Clone + Send + Sync + 'static) -> Summary {
    run_with(job, |_, _| {}, enough).unwrap()
}

fn after(checkpoints: u64) -> impl Fn(&Run) -> bool + Clone + Send + Sync + 'static {
    move |run| run.status().completed() >= checkpoints
}

fn names(location: &Location, folder: &str) -> Vec<String> {
    let store = BlobStore::new(location.clone(), JOB);
    block_on(store.list(folder)).unwrap().into_iter().map(|(name, _)| name).collect()
}

/// The checkpoints that were taken because an interval was over, oldest first.
fn by_interval(location: &Location) -> Vec<CheckpointMetadata> {
    let store = BlobStore::new(location.clone(), JOB);
    let read = |name: String| {
        let bytes = block_on(store.get(&name)).unwrap();
        CheckpointMetadata::from_bytes(&name, &bytes).unwrap()
    };
    let mut all: Vec<_> = names(location, layout::CHECKPOINTS).into_iter().map(read).collect();
    all.retain(|metadata| metadata.origin == Origin::Interval);
    all.sort_by_key(|metadata| metadata.id);
    all
}
