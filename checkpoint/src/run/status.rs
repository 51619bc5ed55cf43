//! What a run has achieved so far, for people who watch it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metadata::{CheckpointId, CheckpointMetadata, Origin};
use crate::time::Epoch;

/// Counters of a run.
#[derive(Debug, Default)]
pub struct Status {
    epoch: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    bytes_written: AtomicU64,
    bytes_folded: AtomicU64,
    stall_us_max: AtomicU64,
    last: Mutex<Option<CheckpointReport>>,
    durations_ms: Mutex<Vec<u64>>,
    /// Of each operator on each worker of this process.
    state: Mutex<BTreeMap<(String, usize), StateSize>>,
}

/// How much keyed state there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Keys.
    pub entries: u64,
    /// Bytes of the tables; what keys and values own on the heap is not counted.
    pub bytes: u64,
}

/// One completed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Its id.
    pub id: CheckpointId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Why it was taken.
    pub origin: Origin,
    /// When it was complete, milliseconds since the Unix epoch.
    pub completed_ms: u64,
    /// From the end of its epoch to the last durable snapshot.
    pub duration_ms: u64,
    /// Bytes that it added to the store, but for those of folds.
    pub bytes_written: u64,
    /// Bytes that folds have written since the checkpoint before.
    pub bytes_folded: u64,
    /// Bytes of all that it refers to.
    pub bytes_total: u64,
}

impl From<&CheckpointMetadata> for CheckpointReport {
    fn from(metadata: &CheckpointMetadata) -> Self {
        CheckpointReport {
            id: metadata.id,
            epoch: metadata.epoch,
            origin: metadata.origin,
            completed_ms: metadata.completed_ms,
            duration_ms: metadata.duration_ms,
            bytes_written: metadata.bytes_written,
            bytes_folded: metadata.bytes_folded,
            bytes_total: metadata.bytes_total,
        }
    }
}

impl Status {
    pub(crate) fn begun(&self, epoch: Epoch) {
        self.epoch.store(epoch.0, Ordering::Relaxed);
    }

    pub(crate) fn completed_one(&self, report: CheckpointReport) {
        self.completed.fetch_add(1, Ordering::Relaxed);
        self.bytes_written.fetch_add(report.bytes_written, Ordering::Relaxed);
        self.bytes_folded.fetch_add(report.bytes_folded, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(report);
        let mut all = self.durations_ms.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.push(report.duration_ms);
    }

    pub(crate) fn failed_one(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stalled(&self, stall_us: u64) {
        self.stall_us_max.fetch_max(stall_us, Ordering::Relaxed);
    }

    pub(crate) fn state_of(&self, uid: &str, worker: usize, size: StateSize) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.insert((uid.to_owned(), worker), size);
    }

    /// Keyed state of all operators in this process, as of the end of the last epoch.
    pub fn state(&self) -> StateSize {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.values().fold(StateSize::default(), |sum, size| StateSize {
            entries: sum.entries + size.entries,
            bytes: sum.bytes + size.bytes,
        })
    }

    /// The running epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    /// Checkpoints completed in this run.
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Checkpoints of this run whose metadata could not be written; each is part of a later one.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Bytes that the checkpoints of this run added to the store.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Bytes that folds added on top: with them this is how much a change is written over again.
    pub fn bytes_folded(&self) -> u64 {
        self.bytes_folded.load(Ordering::Relaxed)
    }

    /// The longest time that a seal kept a worker's thread at one go, microseconds.
    pub fn stall_us_max(&self) -> u64 {
        self.stall_us_max.load(Ordering::Relaxed)
    }

    /// The newest completed checkpoint of this run.
    pub fn last(&self) -> Option<CheckpointReport> {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Durations of all checkpoints of this run in their order, milliseconds.
    pub fn durations_ms(&self) -> Vec<u64> {
        self.durations_ms.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
