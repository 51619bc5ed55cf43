//! Broadcast state that takes part in checkpoints: whole on every worker, written once.

use std::collections::BTreeMap;
use std::hash::Hash;

use timely::dataflow::operators::Capability;
use timely::progress::Timestamp;

use super::{CheckpointScope, Joined, KeyedState};
use crate::state::typed::{BroadcastMap, Persist};
use crate::state::{Codec, KeyedTable};
use crate::time::EpochTime;

/// A map that is the same on all workers. Each writes the entries in its own key groups, and
/// restores those of all.
pub struct BroadcastState<T: Timestamp, K, V, C> {
    map: BroadcastMap<K, V>,
    /// The part that this worker writes.
    state: KeyedState<T, K, V, C>,
}

impl<T, K, V, C> BroadcastState<T, K, V, C>
where
    T: Timestamp + EpochTime,
    K: Persist + Hash + Ord + Clone,
    V: Persist + Clone,
    C: Codec<K> + Codec<V>,
{
    /// Loads the map of `uid`, which has `joined`; what is returned makes it, given the operator's
    /// capabilities.
    pub fn load(
        checkpoints: &CheckpointScope<'_, T>,
        joined: Joined<T>,
        uid: &str,
    ) -> impl FnOnce(&[Capability<T>]) -> Self + use<T, K, V, C> {
        // Each worker's own part is what is restored, and what the checkpoint's digest is of.
        let table = checkpoints.load(uid);
        let all: Option<KeyedTable<K, V, C>> = checkpoints.read_all(uid);
        let entries = all.iter().flat_map(KeyedTable::iter);
        let entries = entries.map(|(key, value)| (key.clone(), value.clone())).collect();
        move |capabilities| BroadcastState {
            map: BroadcastMap::new(entries),
            state: joined.keyed(capabilities, table),
        }
    }

    /// The map, to be read.
    pub fn map(&self) -> &BTreeMap<K, V> {
        &self.map
    }

    /// Changes the map, in the same way on all workers.
    pub fn change(&mut self, change: impl FnOnce(&mut BroadcastMap<K, V>)) {
        change(&mut self.map);
        self.map.settle(self.state.table());
    }

    /// What takes part in checkpoints.
    pub fn state(&mut self) -> &mut KeyedState<T, K, V, C> {
        &mut self.state
    }
}

impl<T: Timestamp, K, V, C> std::fmt::Debug for BroadcastState<T, K, V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BroadcastState").field("state", &self.state).finish_non_exhaustive()
    }
}
