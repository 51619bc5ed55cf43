//! Decides when epochs end, which checkpoints are complete, and what may be deleted.
//!
//! The coordinator is a state machine without I/O. [`Coordinator::step`] takes one [`Event`] and
//! returns the [`Action`]s that its driver must perform, in order; it reads no clock, spawns no
//! task and touches no store, so that a test can feed it any interleaving. One exists per job, on
//! worker 0; `dataflow/` drives it.
//!
//! ```text
//!   epoch:  running --Begin(next)--> closed --all snapshots durable--> durable --Write--> complete --Commit-->
//!                                                  |                      |
//!                                                  +--timeout             +--not written--> part of the next one
//! ```
//!
//! # Terms
//!
//! *Closed*: every source was told that the epoch is over. *Durable*: the acknowledgements'
//! frontier has passed it; each operator's snapshot is in the store, but nothing refers to it.
//! *Complete*: a metadata refers to it. Only that survives recovery.
//!
//! # Invariants
//!
//! * **C1** Epochs of complete checkpoints strictly increase, and ids are dense.
//! * **C2** At most one metadata write is under way: the next is built on its outcome.
//! * **C3** A segment is deleted only when neither a retained checkpoint, nor the state that the
//!   next one will refer to, nor a fold or the copy of a savepoint under way names it. While it is
//!   not known which of several metadata is there under an id, nothing is deleted.
//! * **C4** Once fenced or given up, nothing more is written or deleted.
//! * **C5** The interval ends an epoch only while fewer than `max_concurrent` are closed and neither
//!   complete nor failed. A savepoint or a stop that a person asks for does not wait for that.
//!
//! # When the store does not answer
//!
//! A metadata write that failed may have taken effect. Its id is tried again with what is durable
//! by then; the driver finds our own earlier write there, says [`Event::Written`] of that one, and
//! the newer state follows under the next id. An epoch that was not written is not undone: its
//! segments are part of the next checkpoint.
//!
//! # What has failed
//!
//! A metadata that was not written, and an epoch that is not complete `timeout` after it closed. The
//! first epoch that is durable in time takes in those that were not. A metadata write that is under
//! way when its time is up is left to end: if it is there in the end, the checkpoint is complete.
//! The last checkpoint has no timeout and no limit of attempts, for none follows that would take it
//! in.

mod savepoints;
mod state;

pub use state::{Coordinator, CoordinatorConfig, Start};

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::metadata::{
    Acknowledgement, CheckpointId, CheckpointMetadata, Generation, SegmentMetadata,
};
use crate::time::Epoch;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed, milliseconds since the Unix epoch.
    Time {
        /// Now.
        now_ms: u64,
    },
    /// Someone asked the job to stop.
    StopRequested {
        /// Now.
        now_ms: u64,
    },
    /// Every sink has seen all that will ever come.
    InputEnded {
        /// Now.
        now_ms: u64,
    },
    /// Someone asked the job to end as if its input had.
    DrainRequested {
        /// Now.
        now_ms: u64,
    },
    /// Someone asked for a savepoint: of the running epoch, which ends at once, or of the last one
    /// if that has ended already.
    SavepointRequested {
        /// Names the request in [`Action::Savepoint`].
        request: u64,
        /// Now.
        now_ms: u64,
    },
    /// The savepoint of this checkpoint is taken, or has failed: nobody reads its segments for it.
    SavepointEnded {
        /// The checkpoint.
        id: CheckpointId,
    },
    /// A snapshot is durable. Its epoch is the first one at whose end the state was this: whoever
    /// sees several epochs end at once acknowledges the one that it was in.
    Acknowledged(Box<Acknowledgement>),
    /// Every snapshot of every epoch before this one is durable; all epochs, if none.
    Durable {
        /// The acknowledgements' frontier.
        before: Option<Epoch>,
        /// Now.
        now_ms: u64,
    },
    /// A metadata is in the store.
    Written {
        /// Its id.
        id: CheckpointId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The metadata could not be written, or nobody knows.
    NotWritten {
        /// What the store said.
        reason: String,
    },
    /// A newer run owns the job.
    Fenced {
        /// The newer run.
        newer: Generation,
    },
    /// Segments were folded.
    Folded {
        /// The operator.
        uid: String,
        /// The objects that went in.
        replaced: Vec<String>,
        /// What came out: nothing, if the fold failed.
        with: Option<Vec<SegmentMetadata>>,
    },
}

impl Event {
    /// The metadata was not written because of `error`.
    pub(crate) fn not_written(error: &Error) -> Event {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        Event::NotWritten { reason }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// End the running epoch and begin this one.
    Begin(Epoch),
    /// No epoch follows: tell the sources.
    End,
    /// Write this metadata by put-if-absent.
    Write(Box<CheckpointMetadata>),
    /// Let sinks commit everything up to this epoch.
    Commit(Epoch),
    /// Copy this complete checkpoint: nothing that it names is deleted until
    /// [`Event::SavepointEnded`].
    Savepoint {
        /// Who asked for it.
        requests: Vec<u64>,
        /// The checkpoint.
        metadata: Box<CheckpointMetadata>,
    },
    /// Fold these segments, oldest first, into bases.
    Fold {
        /// The operator.
        uid: String,
        /// What to fold.
        segments: Vec<SegmentMetadata>,
    },
    /// Delete what nothing refers to; failure is of no consequence.
    Delete {
        /// Checkpoints, first.
        checkpoints: Vec<CheckpointId>,
        /// Segment objects.
        segments: Vec<String>,
    },
    /// The last checkpoint is complete.
    Finish,
    /// Stop at once: another run owns the job.
    Abandon {
        /// The newer run.
        newer: Generation,
    },
    /// Say that a checkpoint has failed: its changes go into the next one.
    Failed {
        /// Its epoch.
        epoch: Epoch,
        /// Why.
        cause: Cause,
    },
    /// Stop at once: more checkpoints in a row have failed than are tolerable.
    GiveUp {
        /// How many.
        failures: u32,
        /// Why the last of them did.
        cause: Cause,
    },
}

/// Why a checkpoint failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was not complete in time.
    Timeout {
        /// How long that is.
        timeout_ms: u64,
        /// Whether its snapshots were durable, so that only its metadata was missing.
        is_durable: bool,
    },
    /// The store did not take its metadata.
    NotWritten {
        /// What it said.
        reason: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Timeout { timeout_ms, is_durable } => {
                let missing = if *is_durable { "its metadata" } else { "a snapshot" };
                let timeout = Duration::from_millis(*timeout_ms);
                write!(f, "{missing} was not durable within the timeout of {timeout:?}")
            }
            Cause::NotWritten { reason } => write!(f, "its metadata was not written: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
