//! Broadcast state that takes part in checkpoints: whole on every worker, written once.

use std::collections::BTreeMap;
use std::hash::Hash;

use timely::dataflow::operators::Capability;
use timely::progress::Timestamp;

use super::{CheckpointScope, Joined, KeyedState};
use crate::schema::Evolution;
use crate::state::typed::{BroadcastMap, Persist};
use crate::state::{Codec, KeyedTable, stable_hash};
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
        let key_groups = checkpoints.run().key_groups();
        let all: KeyedTable<K, V, C> = checkpoints.load_into(uid, &Evolution::new(), || {
            KeyedTable::new(key_groups, 0..key_groups.count())
        });
        let run = checkpoints.run();
        let owned = key_groups.of_worker(checkpoints.scope().index(), run.workers());
        let mut table = KeyedTable::new(key_groups, owned.clone());
        if all.is_to_be_rewritten() {
            table.rewrite();
        }
        let mut entries = BTreeMap::new();
        for (key, value) in all.iter() {
            let hash = stable_hash(key);
            if owned.contains(&key_groups.of_hash(hash)) {
                table.restore(hash, key.clone(), Some(value.clone()));
            }
            entries.insert(key.clone(), value.clone());
        }
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
