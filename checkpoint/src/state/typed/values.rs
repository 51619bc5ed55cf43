//! One value a key: what value, reducing and aggregating state are made of.

use std::hash::Hash;

use super::{At, Persist, Retention, Stored};
use crate::state::{Codec, KeyedTable};

/// The values of a table, with their retention.
#[derive(Debug)]
pub struct Values<'t, K, V: Persist, M: Retention, C> {
    table: &'t mut KeyedTable<K, M::Stored<V>, C>,
    retention: M,
}

impl<'t, K, V, M, C> Values<'t, K, V, M, C>
where
    K: Hash + Eq + Clone,
    V: Persist,
    M: Retention,
    C: Codec<K> + Codec<M::Stored<V>>,
{
    /// The values of `table`.
    pub fn new(table: &'t mut KeyedTable<K, M::Stored<V>, C>, retention: M) -> Self {
        Values { table, retention }
    }

    /// The value of the key, if it has one.
    pub fn get(self, at: At<'_, K>) -> Option<&'t V> {
        let Values { table, retention } = self;
        let is_key = |key: &K| key == at.key;
        let stored = table.find(at.hash, is_key)?;
        if retention.is_expired(stored, at.now_ms) {
            return None;
        }
        if retention.notes_read(stored, at.now_ms) {
            table.change(at.hash, is_key, |stored| retention.written(stored, at.now_ms));
        }
        table.find(at.hash, is_key).map(Stored::value)
    }

    /// Applies `change` to the value, which is made by `init` if there is none.
    pub fn update<R>(
        self,
        at: At<'_, K>,
        init: impl Fn() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> R {
        let Values { table, retention } = self;
        let renew = |stored: &mut M::Stored<V>| {
            if retention.is_expired(stored, at.now_ms) {
                *stored = retention.store(init(), at.now_ms);
            } else {
                retention.written(stored, at.now_ms);
            }
        };
        let mut change = Some(change);
        let mut apply = |stored: &mut M::Stored<V>| {
            renew(stored);
            change.take().map(|change| change(stored.value_mut()))
        };
        let mut changed = table.change(at.hash, |key| key == at.key, &mut apply);
        if changed.is_none() {
            let new = || retention.store(init(), at.now_ms);
            let key = at.key.clone();
            changed = Some(table.update(at.hash, key, new, |_, stored| apply(stored)));
        }
        changed.flatten().expect("one of the two applies it, once")
    }

    /// Sets the value, and returns the one there was.
    pub fn set(self, at: At<'_, K>, value: V) -> Option<V> {
        let Values { table, retention } = self;
        let mut new = Some(value);
        let replaced = table.change(
            at.hash,
            |key| key == at.key,
            |stored| {
                let new = retention.store(new.take()?, at.now_ms);
                let old = std::mem::replace(stored, new);
                (!retention.is_expired(&old, at.now_ms)).then(|| old.into_value())
            },
        );
        if let Some(new) = new {
            let new = || retention.store(new, at.now_ms);
            table.update(at.hash, at.key.clone(), new, |_, _| {});
        }
        replaced.flatten()
    }

    /// Removes the value and returns it.
    pub fn remove(self, at: At<'_, K>) -> Option<V> {
        let removed = self.table.remove(at.hash, at.key.clone())?;
        (!self.retention.is_expired(&removed, at.now_ms)).then(|| removed.into_value())
    }
}
