//! One run of a job: what all its workers share, and the I/O that is done for them.
//!
//! A [`Run`] is opened once, before any worker exists: it fences older runs, chooses the checkpoint
//! to start from, and appends that choice as its own first checkpoint (`open.rs`). The operators in
//! `dataflow/` then ask it to load, to upload and to write; it answers on tokio's threads, so that
//! no worker ever waits for the store.

mod bundles;
mod cancel;
mod choose;
mod control;
mod executor;
mod open;
mod plan;
mod reopen;
mod requests;
mod restored;
mod schema;
#[cfg(feature = "testing")]
pub mod simulated;
mod snapshots;
mod status;
mod tasks;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

pub use choose::{Elsewhere, Restore};
pub use control::Control;
pub use executor::Executor;
pub(crate) use plan::unclaimed as unclaimed_reason;
pub use plan::{Difference, OperatorPlan, RestorePlan, Restored};
pub(crate) use requests::{Feed, Pinned};
pub(crate) use snapshots::{Sealed, SegmentStream};
pub use status::{CheckpointReport, StateSize, Status};

use crate::error::{BoxError, Result};
use crate::metadata::{CheckpointId, CheckpointMetadata, Generation, StateSchema};
use crate::policy::CheckpointPolicy;
use crate::state::KeyGroups;
use crate::store::{BlobStore, Location};
use crate::time::Epoch;

/// How a run is checkpointed.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Name of the job: its folder within the checkpoint directory.
    pub job: String,
    /// Number of workers, of all processes together.
    pub workers: usize,
    /// Number of key groups. Fixed for a job's life; a checkpoint with another number is refused.
    pub key_groups: KeyGroups,
    /// Where checkpoints go; none for a run that keeps none.
    pub store: Option<BlobStore>,
    /// When checkpoints are taken, how many, and what may go wrong with them.
    pub policy: CheckpointPolicy,
    /// What to start from.
    pub restore: Restore,
    /// Whether state of the checkpoint that no operator of the program claims is dropped; Flink's
    /// `--allowNonRestoredState`.
    ///
    /// *Default*: no: a uid that was mistyped or forgotten would lose an operator's state.
    pub allow_non_restored_state: bool,
    /// How often the run looks whether it is asked for something: a savepoint, or to stop.
    ///
    /// Costs one list request each time; where lists are paid for, 1 s is some dollars a month.
    ///
    /// *Unit*: wall time, 1 ms resolution. *Default*: 1 s, for a person who waits.
    /// *Range*: longer than zero.
    pub request_interval: Duration,
    /// Bytes of snapshots in the memory of this process, captured and not in the store yet, at which
    /// seals pause, and operators in the middle of one take no more input.
    ///
    /// *Unit*: bytes. *Default*: [`BYTES_IN_FLIGHT_MAX`]. *Range*: at least 1. Beyond it there may be
    /// what one slice of each seal captures, and less than a part of each segment under way: it
    /// bounds memory while the store is slow or away, and is no promise to the byte.
    pub bytes_in_flight_max: usize,
}

/// Default of [`RunOptions::bytes_in_flight_max`]: 256 MiB, eight objects with all their parts under
/// way. A store that takes a second for a part of 8 MiB moves 250 MB/s with that.
pub const BYTES_IN_FLIGHT_MAX: usize = 256 << 20;

impl RunOptions {
    /// What a program has to say at least: its name, and where its checkpoints go, a path or a
    /// URL as of [`Location::parse`]. For 1 worker.
    ///
    /// # Errors
    ///
    /// As [`Location::parse`].
    pub fn new(job: &str, path_or_url: &str) -> Result<RunOptions> {
        Ok(RunOptions {
            job: job.to_owned(),
            workers: 1,
            key_groups: KeyGroups::default(),
            store: Some(BlobStore::new(Location::parse(path_or_url)?, job)),
            policy: CheckpointPolicy::default(),
            restore: Restore::default(),
            allow_non_restored_state: false,
            request_interval: Duration::from_secs(1),
            bytes_in_flight_max: BYTES_IN_FLIGHT_MAX,
        })
    }
}

/// See the module.
pub struct Run {
    options: RunOptions,
    executor: Executor,
    generation: Generation,
    /// The run's own first checkpoint: what it starts from.
    start: CheckpointMetadata,
    restored: Option<CheckpointId>,
    retained: Vec<CheckpointMetadata>,
    control: Control,
    status: Status,
    undeleted: tokio::sync::Mutex<tasks::Undeleted>,
    requests: Mutex<requests::Requests>,
    /// Held by who takes a savepoint: one at a time.
    taking: tokio::sync::Mutex<()>,
    /// Uids and schemas of the operators that were built, of a run that is only planned.
    planned: Option<Mutex<BTreeMap<String, StateSchema>>>,
    snapshots: snapshots::Shared,
    folding: tokio::sync::Mutex<()>,
    restored_parts: Mutex<restored::Restored>,
}

impl Run {
    /// Runs `task` in the background.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.executor.spawn(task)
    }

    /// Runs blocking `work` on a thread of its own.
    pub fn spawn_blocking<R, F>(&self, work: F) -> tokio::task::JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.executor.spawn_heavy(async move { work() })
    }

    /// Runs `task`, which computes for long between its requests, on a thread of its own.
    pub(crate) fn spawn_heavy<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.executor.spawn_heavy(task)
    }

    /// Time since the Unix epoch; never goes back.
    pub(crate) fn now(&self) -> Duration {
        self.executor.now()
    }

    /// The clock that delayed activations come by; none where there are no delays.
    pub(crate) fn timer(&self) -> Option<Duration> {
        self.executor.timer()
    }

    /// How much a seal does between two looks at the clock, at the most `most`.
    pub(crate) fn slice_work(&self, most: usize) -> usize {
        self.executor.slice_work(most)
    }

    /// A participant ends an epoch.
    pub(crate) fn sealing(&self, uid: &str, worker: usize, epoch: Epoch) {
        self.executor.sealing(uid, worker, epoch);
    }

    /// The time of day, in milliseconds since the Unix epoch, as the process saw it when it began: it
    /// never goes back. What depends on it may come out otherwise when it is done again.
    pub fn now_ms(&self) -> u64 {
        self.executor.now_ms()
    }

    /// Name of the job.
    pub fn job(&self) -> &str {
        &self.options.job
    }

    /// How it is checkpointed.
    pub fn options(&self) -> &RunOptions {
        &self.options
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.options.workers
    }

    /// The key groups.
    pub fn key_groups(&self) -> KeyGroups {
        self.options.key_groups
    }

    /// This incarnation of the job; 0 if the run keeps no checkpoints.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether the run keeps checkpoints.
    pub fn is_durable(&self) -> bool {
        self.options.store.is_some()
    }

    /// What the run starts from: of epoch 0 and without operators if it starts afresh.
    pub fn start(&self) -> &CheckpointMetadata {
        &self.start
    }

    /// The checkpoint that was restored, if one was.
    pub fn restored(&self) -> Option<CheckpointId> {
        self.restored
    }

    /// The first epoch of this run.
    pub fn first_epoch(&self) -> Epoch {
        self.start.epoch.next()
    }

    /// Stopping and failing.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// How the run has ended, to be asked once, when all workers have left.
    ///
    /// # Errors
    ///
    /// What has stopped it. Whatever went wrong in a run that has been replaced went wrong because
    /// of that, and is said to be [`Fenced`](crate::Error::Fenced).
    pub fn outcome(&self) -> std::result::Result<(), BoxError> {
        let Some(error) = self.control.take_failure() else { return Ok(()) };
        Err(self.fenced().map_or(error, BoxError::from))
    }

    /// What has been achieved.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The checkpoints that were there when the run began, oldest first, without its own.
    pub(crate) fn retained(&self) -> &[CheckpointMetadata] {
        &self.retained
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("options", &self.options)
            .field("generation", &self.generation)
            .field("restored", &self.restored)
            .finish_non_exhaustive()
    }
}
