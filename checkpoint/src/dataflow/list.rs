//! A list that an operator keeps without keys: some items on each worker.

use timely::progress::Timestamp;

use super::{Again, CheckpointScope, Closed, NamedState, Participant};
use crate::error::{BoxError, Error, Result};
use crate::metadata::StateSchema;
use crate::state::typed::Persist;
use crate::time::{Epoch, EpochTime};

/// Who gets which items when a checkpoint is restored.
///
/// May be another from one run to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redistribution {
    /// All items are dealt out to the workers in turn: each is on one of them.
    #[default]
    Split,
    /// Every worker gets the items of all workers, and keeps those that it has a use for. Whatever
    /// it keeps it writes: an item that all keep is there once for each of them after the next
    /// restore.
    Broadcast,
}

/// The schema of a list of these items.
pub fn list_schema<I: Persist>() -> StateSchema {
    StateSchema::list::<I>()
}

/// The share of worker `worker`, of `workers`, of items of which all are given.
pub fn share<I>(
    all: impl IntoIterator<Item = I>,
    redistribution: Redistribution,
    worker: usize,
    workers: usize,
) -> Vec<I> {
    let is_ours = |at: usize| match redistribution {
        Redistribution::Split => at % workers == worker,
        Redistribution::Broadcast => true,
    };
    all.into_iter().enumerate().filter(|(at, _)| is_ours(*at)).map(|(_, item)| item).collect()
}

impl<T: Timestamp + EpochTime> CheckpointScope<'_, T> {
    /// The items of `uid`, or of one of its states, that this worker has to go on with.
    ///
    /// Items that cannot be read are what [`finish`](CheckpointScope::finish) returns.
    pub fn load_list<I: Persist>(&self, uid: &str, redistribution: Redistribution) -> Vec<I> {
        let start = self.run().start();
        let state = start.operators.iter().find(|state| state.uid == uid);
        let items = state.filter(|_| self.may_load()).map(|state| state.items.iter());
        let (worker, workers) = (self.scope().index(), self.run().workers());
        let ours = share(items.into_iter().flatten(), redistribution, worker, workers);
        let decoded = ours.into_iter().map(|item| serde_json::from_value(item.clone()));
        decoded.collect::<serde_json::Result<_>>().unwrap_or_else(|error| {
            let reason = format!("an item of list {uid:?} cannot be decoded: {error}");
            self.fail(self.run().incompatible(reason));
            Vec::new()
        })
    }
}

/// Items that take part in checkpoints. All of them are written, as JSON, into the metadata of every
/// checkpoint: meant for hundreds of them, not for millions.
pub struct ListState<T: Timestamp, I> {
    participant: Participant<T>,
    items: Vec<I>,
    failed: Option<serde_json::Error>,
}

impl<T: Timestamp + EpochTime, I: Persist> ListState<T, I> {
    /// A list that begins with `items`.
    pub fn new(participant: Participant<T>, items: Vec<I>) -> Self {
        ListState { participant, items, failed: None }
    }

    /// The items on this worker.
    pub fn items(&mut self) -> &mut Vec<I> {
        &mut self.items
    }

    fn snapshot(&mut self) -> Vec<serde_json::Value> {
        let items: serde_json::Result<_> = self.items.iter().map(serde_json::to_value).collect();
        items.unwrap_or_else(|error| {
            self.failed = Some(error);
            Vec::new()
        })
    }
}

impl<T: Timestamp + EpochTime, I: Persist> NamedState for ListState<T, I> {
    fn running(&self) -> Epoch {
        self.participant.running()
    }

    fn admits(&self, epoch: Epoch) -> bool {
        self.participant.admits(epoch)
    }

    fn is_done(&self) -> bool {
        self.participant.is_done()
    }

    fn is_last_epoch(&self) -> bool {
        self.participant.is_last_epoch()
    }

    fn is_sealing(&self) -> bool {
        false
    }

    fn advance(&mut self, frontier: Option<Epoch>, stashed: Option<Epoch>) -> Closed {
        let closed = self.participant.next_epoch(frontier, stashed);
        if closed == Closed::No {
            return closed;
        }
        let items = self.snapshot();
        let outcome: Result<_> = match &self.failed {
            None => Ok(self.participant.state(|state| state.items = items)),
            // Or the epoch would be complete without them.
            Some(error) => Err(Error::invalid(format!("an item cannot be encoded: {error}"))),
        };
        self.participant.seal(closed, 0, async move { outcome });
        closed
    }

    fn work(&mut self) -> std::result::Result<Again, BoxError> {
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        self.participant.acknowledge()?;
        Ok(Again::WhenWoken)
    }
}

impl<T: Timestamp, I> std::fmt::Debug for ListState<T, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListState").field("items", &self.items.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_deals_out_every_item_once_and_broadcast_to_everybody() {
        for workers in 1..5 {
            let mut dealt: Vec<u32> = (0..workers)
                .flat_map(|worker| share(0..10, Redistribution::Split, worker, workers))
                .collect();
            dealt.sort_unstable();
            assert!(dealt.into_iter().eq(0..10));
            for worker in 0..workers {
                let all = share(0..10, Redistribution::Broadcast, worker, workers);
                assert!(all.into_iter().eq(0..10));
            }
        }
    }
}
