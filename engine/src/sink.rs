//! The contract of a sink: two phases, so that output appears exactly once.
//!
//! ```text
//!   worker     write ... write | prepare(e) | write ... write | prepare(e+1)
//!                                   |
//!   elsewhere                       +--> finish -> committables --> checkpoint of e complete --> commit
//! ```
//!
//! What is written stays invisible until the checkpoint of its epoch is complete. `prepare` makes
//! it durable and names it by *committables*, which become part of the checkpoint; `commit` makes
//! it visible. A job that dies after the checkpoint and before the commit commits when it restores;
//! one that dies before the checkpoint writes the same records again, and what it had written is
//! aborted.
//!
//! # Contract
//!
//! * **K1** Nothing is visible before `commit`, whatever the process does or how it dies.
//! * **K2** What a committable names survives the death of the process that prepared it.
//! * **K3** `commit` is idempotent: a committable that was committed already, by this or by another
//!   process, even at the same moment, is a success.
//! * **K4** `abort` discards what no `commit` has named, and touches nothing of another job.
//!   What it meets half gone is a success.
//! * **K5** Nothing that the job did not write is overwritten or deleted; a target that holds
//!   something else is an error of `begin`.
//!
//! In return, what one writer has prepared is committed in the order of its epochs, one `commit` at a
//! time; commits of different writers run side by side.
//!
//! `highwater::testing::check_sink` puts a sink through K1 to K4.

use highwater_checkpoint::Epoch;
pub use highwater_checkpoint::dataflow::Redistribution;
use serde::{Serialize, de::DeserializeOwned};

use crate::BoxError;

/// What a job writes to.
pub trait Sink<T>: Send + Sync + 'static {
    /// Names output that is durable and not yet visible; written into checkpoints as JSON.
    type Committable: Serialize + DeserializeOwned + Clone + Send + 'static;
    /// Writes on one worker.
    type Writer: SinkWriter<T, Committable = Self::Committable> + 'static;

    /// Looks at the target before the run changes anything.
    ///
    /// Called once a run, before `commit`, `abort` and `open`, before any worker exists.
    ///
    /// # Errors
    ///
    /// If the target cannot be written, or holds what this job must not touch: the job does not
    /// start.
    fn begin(&self, run: &SinkRun) -> Result<(), BoxError>;

    /// Makes visible what the committables name. Runs off the worker's thread; may take its time.
    ///
    /// # Errors
    ///
    /// Stops the job; the committables stay in the checkpoint and are committed after a restore.
    fn commit(&self, run: &SinkRun, committables: Vec<Self::Committable>) -> Result<(), BoxError>;

    /// Discards everything that earlier runs of this job wrote and did not commit.
    ///
    /// Called once a run, after the commits that the checkpoint lists and before any `open`.
    ///
    /// # Errors
    ///
    /// If what must not become visible could not be removed: the job does not start.
    fn abort(&self, run: &SinkRun) -> Result<(), BoxError>;

    /// Opens the writer of one worker.
    ///
    /// # Errors
    ///
    /// Stops the job.
    fn open(&self, run: &SinkRun, worker: usize) -> Result<Self::Writer, BoxError>;

    /// Which writers get the [items](SinkWriter::items) of which when a job is started again.
    ///
    /// *Default*: they are dealt out, each to one.
    fn redistribution(&self) -> Redistribution {
        Redistribution::Split
    }
}

/// Writes one worker's part of the output.
pub trait SinkWriter<T> {
    /// Names output that is durable and not yet visible.
    type Committable;

    /// Takes the records out of `batch`. May block: pacing then holds the sources back.
    ///
    /// # Errors
    ///
    /// Stops the job.
    fn write(&mut self, batch: &mut Vec<T>) -> Result<(), BoxError>;

    /// Ends `epoch`: everything written since the last call belongs to it.
    ///
    /// Runs on the worker's thread and only detaches what was written; the work that it returns,
    /// flushing and syncing, runs elsewhere while the writer goes on with the next epoch.
    ///
    /// # Errors
    ///
    /// Stops the job.
    fn prepare(&mut self, epoch: Epoch) -> Result<Prepare<Self::Committable>, BoxError>;

    /// What the writer has to remember from one run to the next, beside what it has made durable:
    /// asked for after each `prepare`, and written as JSON into the metadata of the checkpoint, so
    /// meant to be little. *Default*: nothing.
    ///
    /// # Errors
    ///
    /// Stops the job.
    fn items(&self) -> Result<Vec<serde_json::Value>, BoxError> {
        Ok(Vec::new())
    }

    /// Takes in its share of the items of all writers that the checkpoint holds, as
    /// [`Sink::redistribution`] says. Called once, before the first `write`, if there are any.
    ///
    /// # Errors
    ///
    /// Stops the job. *Default*: that such a writer has no items.
    fn restore(&mut self, items: Vec<serde_json::Value>) -> Result<(), BoxError> {
        let count = items.len();
        Err(format!("the checkpoint has {count} items of the sink, whose writer keeps none").into())
    }
}

/// Makes what was written durable and names it; an epoch without output names nothing.
pub type Prepare<C> = Box<dyn FnOnce() -> Result<Vec<C>, BoxError> + Send>;

/// The run that a sink takes part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkRun {
    /// Name of the job.
    pub job: String,
    /// The sink's uid within the job.
    pub uid: String,
    /// The incarnation of the job: greater in each run, 0 without a checkpoint directory. In the
    /// names of what a run writes it keeps runs apart.
    pub generation: u64,
    /// Number of workers.
    pub workers: usize,
    /// The last epoch whose output the restored checkpoint contains; none if the run starts afresh.
    pub restored: Option<Epoch>,
}
