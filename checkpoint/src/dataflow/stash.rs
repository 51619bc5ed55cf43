//! Batches that came before their epoch: kept, with their capabilities, until it runs.

use std::collections::{BTreeMap, VecDeque};

use timely::dataflow::operators::Capability;
use timely::progress::Timestamp;

use crate::time::{Epoch, EpochTime};

/// Batches of epochs that do not run yet, in order of arrival within each.
///
/// Each keeps its capability: without it the frontier would pass the batch, and the epoch would
/// end without it. Nothing else waits; pacing bounds how much can be here.
#[derive(Debug)]
pub struct Stash<T: Timestamp, C> {
    epochs: BTreeMap<Epoch, VecDeque<(Capability<T>, C)>>,
}

impl<T: Timestamp, C> Default for Stash<T, C> {
    fn default() -> Self {
        Stash { epochs: BTreeMap::new() }
    }
}

impl<T: Timestamp + EpochTime, C: Default> Stash<T, C> {
    /// Keeps a batch for later.
    pub fn push(&mut self, capability: Capability<T>, batch: &mut C) {
        let epoch = capability.time().epoch();
        self.epochs.entry(epoch).or_default().push_back((capability, std::mem::take(batch)));
    }

    /// The batches of `epoch`.
    pub fn take(&mut self, epoch: Epoch) -> impl Iterator<Item = (Capability<T>, C)> + use<T, C> {
        self.epochs.remove(&epoch).unwrap_or_default().into_iter()
    }

    /// The first batch of `epoch`.
    pub fn pop(&mut self, epoch: Epoch) -> Option<(Capability<T>, C)> {
        let batches = self.epochs.get_mut(&epoch)?;
        let first = batches.pop_front();
        if batches.is_empty() {
            self.epochs.remove(&epoch);
        }
        first
    }

    /// The least epoch of which there are batches.
    pub fn first(&self) -> Option<Epoch> {
        self.epochs.first_key_value().map(|(epoch, _)| *epoch)
    }
}
