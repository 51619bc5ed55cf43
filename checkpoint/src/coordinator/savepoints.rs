//! Which checkpoints become savepoints, and what must not be deleted while they are copied.

use super::Action;
use crate::metadata::{CheckpointId, CheckpointMetadata};
use crate::time::Epoch;

/// Requests that wait for a checkpoint, and checkpoints that are being copied.
#[derive(Debug, Default)]
pub(super) struct Savepoints {
    /// Each is served by the first complete checkpoint of this epoch or a later one.
    requested: Vec<(Epoch, u64)>,
    copying: Vec<CheckpointMetadata>,
}

impl Savepoints {
    pub(super) fn request(&mut self, request: u64, epoch: Epoch) {
        self.requested.push((epoch, request));
    }

    /// Takes up a complete checkpoint: it is pinned if somebody waits for it.
    pub(super) fn completed(&mut self, metadata: &CheckpointMetadata) -> Option<Action> {
        let served = self.requested.extract_if(.., |(epoch, _)| *epoch <= metadata.epoch);
        let requests: Vec<u64> = served.map(|(_, request)| request).collect();
        if requests.is_empty() {
            return None;
        }
        self.copying.push(metadata.clone());
        Some(Action::Savepoint { requests, metadata: Box::new(metadata.clone()) })
    }

    pub(super) fn ended(&mut self, id: CheckpointId) {
        self.copying.retain(|metadata| metadata.id != id);
    }

    /// The checkpoints that are being copied.
    pub(super) fn copying(&self) -> impl Iterator<Item = &CheckpointMetadata> {
        self.copying.iter()
    }
}
