//! A map that is the same on all workers, each of which writes the part in its own key groups.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::ops::Deref;

use crate::state::{Codec, KeyedTable, stable_hash};

/// A map that every worker has whole. Reading is what `BTreeMap` offers.
///
/// Every worker makes the same changes in the same order; that is for whoever calls.
#[derive(Clone, Debug)]
pub struct BroadcastMap<K, V> {
    entries: BTreeMap<K, V>,
    /// Since the last [`settle`](BroadcastMap::settle).
    changed: BTreeSet<K>,
}

impl<K, V> Deref for BroadcastMap<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.entries
    }
}

impl<K: Ord + Clone + Hash + Eq, V: Clone> BroadcastMap<K, V> {
    /// A map that begins with `entries`.
    pub fn new(entries: BTreeMap<K, V>) -> Self {
        BroadcastMap { entries, changed: BTreeSet::new() }
    }

    /// Sets the value of `key`, and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.changed.insert(key.clone());
        self.entries.insert(key, value)
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.entries.remove(key)?;
        self.changed.insert(key.clone());
        Some(removed)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.changed.extend(std::mem::take(&mut self.entries).into_keys());
    }

    /// Brings the changes since the last call to `table`, as far as they are in its groups.
    pub fn settle<C>(&mut self, table: &mut KeyedTable<K, V, C>)
    where
        C: Codec<K> + Codec<V>,
    {
        let (owned, key_groups) = (table.owned_groups(), table.key_groups());
        for key in std::mem::take(&mut self.changed) {
            let hash = stable_hash(&key);
            if !owned.contains(&key_groups.of_hash(hash)) {
                continue;
            }
            if let Some(value) = self.entries.get(&key) {
                let set = |_: &K, there: &mut V| there.clone_from(value);
                table.update(hash, key, || value.clone(), set);
            } else {
                table.remove(hash, key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Bincode, KeyGroups};

    #[test]
    fn the_workers_tables_are_the_map_together_and_each_entry_is_in_one() {
        let groups = KeyGroups::new(9).unwrap();
        let mut workers: Vec<_> = (0..3)
            .map(|worker| {
                let table: KeyedTable<u32, u64, Bincode> =
                    KeyedTable::new(groups, groups.of_worker(worker, 3));
                (BroadcastMap::new(BTreeMap::new()), table)
            })
            .collect();
        let mut expected = BTreeMap::new();
        for n in 0..500u32 {
            for (map, table) in &mut workers {
                match n % 100 {
                    0 => map.clear(),
                    1..60 => drop(map.insert(n * 7 % 97, u64::from(n))),
                    _ => drop(map.remove(&(n * 5 % 97))),
                }
                map.settle(table);
            }
            match n % 100 {
                0 => expected.clear(),
                1..60 => drop(expected.insert(n * 7 % 97, u64::from(n))),
                _ => drop(expected.remove(&(n * 5 % 97))),
            }
            let tables = workers.iter().flat_map(|(_, table)| table.iter());
            let mut found: Vec<_> = tables.map(|(key, value)| (*key, *value)).collect();
            found.sort_unstable();
            assert!(found.into_iter().eq(expected.clone()), "after {n}");
            assert!(workers.iter().all(|(map, _)| **map == expected));
        }
    }
}
