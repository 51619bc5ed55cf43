//! What a run does for its operators, off the workers' threads.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::Run;
use crate::coordinator::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{CheckpointId, CheckpointMetadata, Origin, SegmentKind, SegmentMetadata};
use crate::planted::{self, Bug};
use crate::recovery::{self, LoadedBlock};
use crate::segment::SegmentHeader;
use crate::store::layout::{self, SegmentMaker, SegmentName};
use crate::store::{BlobStore, PutIfAbsent};
use crate::time::Epoch;

/// Between a request that was given up and the next one like it: what the store refuses, it refuses
/// at once, and would be asked again as fast as it answers.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be deleted, and was not yet.
#[derive(Debug, Default)]
pub(super) struct Undeleted {
    checkpoints: VecDeque<CheckpointId>,
    segments: Vec<String>,
}

impl Run {
    pub(super) fn store(&self) -> &BlobStore {
        self.options.store.as_ref().expect("asked only of runs that keep checkpoints")
    }

    /// The error of a checkpoint that is whole, but not one that the program can start from.
    pub(crate) fn incompatible(&self, reason: String) -> Error {
        // The copy that is the run's own first checkpoint is not what a person knows it by.
        Error::Incompatible { id: self.restored.unwrap_or(self.start.id), reason }
    }

    /// Says which checkpoint an object belongs to that cannot be read, and which do without it.
    pub(super) fn damaged(&self, uid: &str, error: Error) -> Error {
        let (Error::Corrupt { object, .. } | Error::Missing { object }) = &error else {
            return error;
        };
        let object = object.clone();
        let id = self.restored.unwrap_or(self.start.id);
        if matches!(self.start.origin, Origin::Fork { .. }) {
            let advice = "it was whole when it was copied: start once more".to_owned();
            return Error::Damaged { id, advice, cause: Box::new(error) };
        }
        let names = |metadata: &CheckpointMetadata| {
            let mut segments = metadata.operators.iter().flat_map(|state| &state.segments);
            segments.any(|segment| segment.object == object)
        };
        let older = self.retained.iter().filter(|metadata| metadata.id < id && !names(metadata));
        let advice =
            super::choose::instead_of_damaged(&older.map(|older| older.id).collect::<Vec<_>>());
        // The name of an object that several operators share does not say whose part it is.
        let cause = match error {
            Error::Corrupt { object, reason } => {
                Error::corrupt(object, format!("in the state of operator {uid:?}: {reason}"))
            }
            error => error,
        };
        Error::Damaged { id, advice, cause: Box::new(cause) }
    }

    /// Reads the entries of operator `uid` in the key groups `owned`, newest first within each
    /// group. Blocks.
    pub(crate) fn load(
        &self,
        uid: &str,
        owned: Range<u16>,
        take: impl FnMut(LoadedBlock<'_>) -> Result<()>,
    ) -> Result<()> {
        let state = self.start.operators.iter().find(|state| state.uid == uid);
        match state {
            Some(state) if !owned.is_empty() => {
                let load =
                    recovery::load(self.store(), &state.segments, state.entries, owned, take);
                self.executor.block_on(load).map_err(|error| self.damaged(uid, error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn segment_header(
        &self,
        uid: &str,
        kind: SegmentKind,
        (worker, epoch): (usize, Epoch),
        covered: &Range<u16>,
    ) -> SegmentHeader {
        SegmentHeader {
            job: self.options.job.clone(),
            uid: uid.to_owned(),
            kind,
            generation: self.generation,
            worker,
            epoch,
            key_groups: self.options.key_groups.count(),
            first_group: covered.start,
            last_group: covered.end - 1,
        }
    }

    pub(crate) fn segment_name(header: &SegmentHeader) -> String {
        let maker = SegmentMaker::Worker { worker: header.worker, kind: header.kind };
        SegmentName {
            uid: header.uid.clone(),
            generation: header.generation,
            epoch: header.epoch,
            maker,
        }
        .to_string()
    }

    /// Makes a checkpoint complete, and says what became of it.
    ///
    /// The fence is checked *after* the write: a run that was suspended between the two may have
    /// written where a newer run has long deleted its own, and must not commit.
    pub(crate) async fn write_metadata(&self, metadata: &CheckpointMetadata) -> Event {
        let name = layout::checkpoint(metadata.id);
        let bytes = Bytes::from(metadata.to_bytes());
        let put = self.store().put_if_absent(&name, bytes).await;
        let epoch = match put {
            Ok(PutIfAbsent::Created) => metadata.epoch,
            Ok(PutIfAbsent::Exists(bytes)) => match self.earlier_write(&name, &bytes) {
                Ok(epoch) => epoch,
                Err(Error::Fenced { newer, .. }) => return Event::Fenced { newer },
                Err(error) => {
                    let event = Event::not_written(&error);
                    self.control.fail(error);
                    return event;
                }
            },
            Err(error) => {
                let event = Event::not_written(&error);
                if !matches!(error.kind(), ErrorKind::Retry | ErrorKind::Reconcile) {
                    self.control.fail(error);
                }
                // The last checkpoint is issued again at once.
                tokio::time::sleep(PAUSE).await;
                return event;
            }
        };
        self.confirm(metadata.id, epoch).await
    }

    async fn confirm(&self, id: CheckpointId, epoch: Epoch) -> Event {
        while !planted::is(Bug::DoesNotLookAtTheFence) {
            match self.store().check_fence(self.generation).await {
                Ok(()) => return Event::Written { id, epoch },
                Err(Error::Fenced { newer, .. }) => return Event::Fenced { newer },
                Err(error) if self.control.is_over() => {
                    tracing::debug!(%error, "the run is over");
                    return Event::not_written(&error);
                }
                Err(error) if error.kind() != ErrorKind::Retry => {
                    // Our token is gone: somebody has emptied the folder.
                    let event = Event::not_written(&error);
                    self.control.fail(error);
                    return event;
                }
                Err(error) => tracing::warn!(%error, "the fence is not checked yet; trying on"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Event::Written { id, epoch }
    }

    /// The epoch of an earlier write of ours under this id, the outcome of which was not known.
    fn earlier_write(&self, name: &str, bytes: &[u8]) -> Result<Epoch> {
        let found = CheckpointMetadata::from_bytes(name, bytes)?;
        let (ours, theirs) = (self.generation, found.generation);
        match theirs.cmp(&ours) {
            Ordering::Equal => Ok(found.epoch),
            Ordering::Greater => Err(Error::Fenced { ours, newer: theirs }),
            Ordering::Less => {
                let reason =
                    format!("an older run ({theirs}) wrote it after this one ({ours}) began");
                Err(Error::corrupt(name, reason))
            }
        }
    }

    /// Sees to it that the next run does not resume from one that never came to its first epoch: from
    /// nothing or from an older checkpoint, when that start was refused by a sink, for example. Blocks.
    ///
    /// SUBTLE: if anything was discarded, the head stays above the id of this run's copy. An older run
    /// that still works writes its next checkpoint there, though its output may be gone by now.
    pub fn withdraw_unless_begun(&self) {
        let is_begun = self.is_planned() || self.control.is_ready();
        if !self.is_durable() || is_begun || self.fenced().is_some() {
            return;
        }
        let head = self.retained.last().filter(|head| head.id.0 + 1 == self.start.id.0);
        let head = head.filter(|_| self.control.is_discarding());
        self.executor.block_on(self.withdraw(head));
    }

    /// `head` is the newest checkpoint but for this run's own; none if it cannot be read, so that
    /// no run starts from it unless told to, or if whatever an older run writes is whole.
    async fn withdraw(&self, head: Option<&CheckpointMetadata>) {
        let Some(head) = head else { return self.delete(&[self.start.id], &[]).await };
        let mut superfluous = Vec::new();
        // Who starts from a drained checkpoint has said so, and has not begun.
        let is_drained = head.origin == Origin::Drain;
        let from = Origin::Restore { from: Some(head.id) };
        if self.start.origin != from || is_drained {
            let again = CheckpointMetadata {
                id: CheckpointId(self.start.id.0 + 1),
                generation: self.generation,
                origin: if is_drained { head.origin } else { from },
                duration_ms: 0,
                bytes_written: 0,
                ..head.clone()
            };
            let name = layout::checkpoint(again.id);
            let put = self.store().put_if_absent(&name, Bytes::from(again.to_bytes())).await;
            if let Err(error) = put {
                let (own, head) = (self.start.id.0, head.id.0);
                tracing::warn!(%error, "checkpoint {own} hides {head}; resume with --restore {head}");
                return;
            }
            superfluous.push(self.start.id);
        }
        // Of starts that fail again and again, one copy is enough.
        if head.origin.is_copy() {
            superfluous.push(head.id);
        }
        self.delete(&superfluous, &[]).await;
    }

    /// Whether a newer run has begun, which explains whatever went wrong in this one.
    pub fn fenced(&self) -> Option<Error> {
        let store = self.options.store.as_ref().filter(|_| !self.is_planned())?;
        let fence = self.executor.block_on(store.check_fence(self.generation));
        fence.err().filter(|error| error.kind() == ErrorKind::Stop)
    }

    /// To be held for the time of a fold: one at a time leaves the other cores to the workers.
    pub(crate) async fn turn_to_fold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.folding.lock().await
    }

    /// Takes as long as it takes to read and write the segments, and compresses meanwhile.
    pub(crate) async fn fold(
        &self,
        uid: &str,
        segments: &[SegmentMetadata],
    ) -> Result<Vec<SegmentMetadata>> {
        let newest = segments.iter().map(|segment| segment.epoch).max().unwrap_or_default();
        let groups = 0..self.options.key_groups.count();
        let header = self.segment_header(uid, SegmentKind::Base, (0, newest), &groups);
        let limits = recovery::FoldLimits::default();
        recovery::fold(self.store(), header, segments, limits).await
    }

    /// Deletes what nothing names. What cannot be deleted is tried again by the next call, and at last
    /// left for the next run's sweep.
    pub(crate) async fn delete(&self, checkpoints: &[CheckpointId], segments: &[String]) {
        // One call at a time, and checkpoints first: one that is there must be whole, so while it
        // cannot be deleted no segment may be, neither those of this call nor those of the next.
        let mut all = self.undeleted.lock().await;
        all.checkpoints.extend(checkpoints);
        all.segments.extend(segments.iter().cloned());
        while let Some(id) = all.checkpoints.front() {
            if !self.delete_one(&layout::checkpoint(*id)).await {
                return;
            }
            all.checkpoints.pop_front();
        }
        for name in std::mem::take(&mut all.segments) {
            self.delete_one(&name).await;
        }
    }

    async fn delete_one(&self, name: &str) -> bool {
        let outcome = self.store().delete(name).await;
        if let Err(error) = &outcome {
            tracing::warn!(object = name, %error, "an old object is left behind");
        }
        outcome.is_ok()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
